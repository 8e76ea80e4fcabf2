"""The events that wait to be sent to the client of a live session: no more than a slow reader may leave."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Final

from deployments.ingress.live.events import ServerEvent

MOST_EVENTS: Final = 256


class Outbox:
    """Lives in one event loop.

    Attributes:
        overflowed: set when an event found no room: the client does not read.
    """

    def __init__(self, limit: int = MOST_EVENTS) -> None:
        self.overflowed = asyncio.Event()
        self._events: asyncio.Queue[str] = asyncio.Queue(limit)

    def put(self, event: ServerEvent) -> None:
        """Let an event be sent after those before it."""
        text = json.dumps({"event_id": f"event_{uuid.uuid4().hex}", **event}, ensure_ascii=False)
        try:
            self._events.put_nowait(text)
        except asyncio.QueueFull:
            self.overflowed.set()

    async def next(self) -> str:
        """Wait for the next event, as JSON; ``sent`` must be called before the one after it."""
        return await self._events.get()

    def sent(self) -> None:
        """Note that the event that ``next`` returned has been sent."""
        self._events.task_done()

    async def flushed(self) -> None:
        """Return when all events have been sent."""
        await self._events.join()
