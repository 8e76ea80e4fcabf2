"""All live sessions of a service: how many there may be, and that they end before it does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from deployments.ingress.live.voice import VoiceThreads
from deployments.ingress.telemetry.live import LiveStatistics
from deployments.shared.errors import DrainingError, LiveSessionsFullError

LAST_WORDS_S: Final = 10.0
"""Seconds that a session which ends has for the texts of what was said."""


class LiveSessions:
    """Lives in the event loop of the ingress.

    Attributes:
        stopping: set when the service ends: each session tells its last words and ends.
        voice: hears all sessions.
    """

    def __init__(self, statistics: LiveStatistics) -> None:
        self.stopping = asyncio.Event()
        self.voice = VoiceThreads()
        self._statistics = statistics
        self._ended = asyncio.Event()
        self._ended.set()

    @contextmanager
    def enter(self, limit: int) -> Iterator[None]:
        """Count a session while the context lasts.

        Raises:
            DrainingError: the service is stopping.
            LiveSessionsFullError: ``limit`` sessions are open.
        """
        if self.stopping.is_set():
            raise DrainingError("The service is stopping; try again")
        if self._statistics.sessions >= limit:
            raise LiveSessionsFullError.too_many(limit)
        self._statistics.sessions += 1
        self._ended.clear()
        try:
            yield
        finally:
            self._statistics.sessions -= 1
            if not self._statistics.sessions:
                self._ended.set()

    async def stop(self) -> None:
        """Let all sessions tell their last words and end; return when they have, or had the time for it."""
        self.stopping.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._ended.wait()
