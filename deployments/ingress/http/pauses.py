"""The events of a request, and each time in between when none has come for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeAlias

from deployments.ingress.scheduling.pipeline import AudioReady, Events, WindowDone
from deployments.ingress.scheduling.speakers import SpeakersFound

PERIOD_S = 10.0
"""Seconds without an event that make a pause: proxies cut connections on which nothing came for 60 s, some for 30."""

Event: TypeAlias = AudioReady | WindowDone | SpeakersFound
EventsAndPauses: TypeAlias = AsyncGenerator[Event | None]


async def with_pauses(events: Events, first: Coroutine[Any, Any, Event | None]) -> EventsAndPauses:
    """Yield the events, and None whenever none has come for another ``PERIOD_S``.

    Each event is asked for when the one before was taken, so that a slow reader holds nothing up.

    Args:
        events: closed at the end.
        first: waits for the first of them; None if there is none.
    """
    coming = asyncio.create_task(first)
    try:
        while True:
            while not (await asyncio.wait({coming}, timeout=PERIOD_S))[0]:
                yield None
            event = coming.result()
            if event is None:
                return
            yield event
            coming = asyncio.create_task(_next(events))
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await events.aclose()


async def _next(events: Events) -> Event | None:
    return await anext(events, None)
