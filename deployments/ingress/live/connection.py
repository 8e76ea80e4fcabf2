"""Connects a session to whatever carries its messages, until either ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from deployments.ingress.live.events import error_event
from deployments.ingress.live.outbox import MOST_EVENTS, Outbox
from deployments.ingress.live.session import Session, SessionLimits
from deployments.ingress.live.sessions import LAST_WORDS_S
from deployments.shared.errors import (
    AmanuensisError,
    DrainingError,
    InternalError,
    LiveReaderTooSlowError,
    LiveSessionExpiredError,
    LiveSessionIdleError,
)

FLUSH_S: Final = 5.0
"""Seconds that a client has to read its last events."""

GOING_ON: Final[set[asyncio.Task[None]]] = set()
"""Work that nobody may be waiting for any more: the event loop itself would forget it."""

logger = logging.getLogger("ray.serve")


class Socket(Protocol):
    """Carries messages to a client and back."""

    async def receive(self) -> str | bytes | None:
        """Return the next message; None when the client is gone."""
        ...

    async def send(self, text: str) -> None:
        """Send an event.

        Raises:
            ConnectionError: the client is gone.
        """
        ...


class Connection:
    """One session and its socket.

    Args:
        socket: the client's.
        session: begins when this runs.
        outbox: of the session.
        limits: of the session.
        stopping: set when the service ends.
    """

    def __init__(
        self, socket: Socket, session: Session, outbox: Outbox, limits: SessionLimits, stopping: asyncio.Event
    ) -> None:
        self._socket = socket
        self._session = session
        self._outbox = outbox
        self._limits = limits
        self._stopping = stopping

    async def run(self) -> AmanuensisError | None:
        """Return why the session had to end; None if its client went away. Nothing of it is left then."""
        working, sending = _task(self._session.run()), _task(self._send())
        tasks = [working, sending, *map(_task, (self._receive(), self._overflow(), self._stop(), self._expire()))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            reason = self._reason(done)
            if reason is not None:
                await self._say_farewell(reason, working, sending)
            return reason
        finally:
            await _to_the_end(self._clean_up(tasks))

    async def _clean_up(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.abandon()

    def _reason(self, done: set[asyncio.Task[None]]) -> AmanuensisError | None:
        errors = [error for task in done if (error := task.exception()) is not None]
        if not errors:
            return None
        known = next((error for error in errors if isinstance(error, AmanuensisError)), None)
        if known is not None:
            return known
        logger.error("Live session %s failed", self._session.id, exc_info=errors[0])
        return InternalError.of_session(self._session.id)

    async def _say_farewell(
        self, reason: AmanuensisError, working: asyncio.Task[None], sending: asyncio.Task[None]
    ) -> None:
        """Tell why the session ends, and the texts of what was said where the client is not at fault."""
        if isinstance(reason, LiveReaderTooSlowError):
            return
        self._outbox.put(error_event(reason))
        if isinstance(reason, DrainingError | LiveSessionExpiredError | LiveSessionIdleError):
            self._session.end()
            await asyncio.wait([working, sending], timeout=LAST_WORDS_S, return_when=asyncio.FIRST_COMPLETED)
        flushing = _task(self._outbox.flushed())
        await asyncio.wait([flushing, sending], timeout=FLUSH_S, return_when=asyncio.FIRST_COMPLETED)
        flushing.cancel()

    async def _receive(self) -> None:
        """Pass on what comes, until the client is gone.

        Raises:
            LiveSessionIdleError, LiveAudioTooFastError: too little came, or too much.
        """
        loop, idle_s = asyncio.get_running_loop(), self._limits.idle_s
        try:
            async with asyncio.timeout(idle_s) as patience:
                while (message := await self._socket.receive()) is not None:
                    patience.reschedule(loop.time() + idle_s)
                    self._session.receive(message)
        except TimeoutError:
            raise LiveSessionIdleError.after(idle_s) from None

    async def _send(self) -> None:
        """Send events as they come, until the client is gone."""
        with suppress(ConnectionError):
            while True:
                await self._socket.send(await self._outbox.next())
                self._outbox.sent()

    async def _overflow(self) -> None:
        await self._outbox.overflowed.wait()
        raise LiveReaderTooSlowError.behind(MOST_EVENTS)

    async def _stop(self) -> None:
        await self._stopping.wait()
        raise DrainingError("The service is stopping; open another session")

    async def _expire(self) -> None:
        await asyncio.sleep(self._limits.session_s)
        raise LiveSessionExpiredError.after(self._limits.session_s)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await work that goes on even if this is cancelled, as often as it is."""
    going_on = _task(work)
    GOING_ON.add(going_on)
    going_on.add_done_callback(GOING_ON.discard)
    await asyncio.shield(going_on)


def _task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(work)
