"""The bound on a request's body: its size, and how slowly it may come."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from deployments.shared.errors import DeadlineExceededError, PayloadTooLargeError, UploadTimeoutError

LINGER_S = 2.0
SMALL_BODY = 2**20
"""Bytes: a body that is refused is received all the same if it is no larger. That is cheaper than the new connection
which the next request would need behind HAProxy, and a client that reads no answer before it has sent all sees it.
"""


def reject_declared_length(headers: Headers, limit: int) -> None:
    """Reject an upload by its headers alone, before it is given a place in the queue.

    Raises:
        PayloadTooLargeError: the body will be larger than ``limit`` bytes.
    """
    if declared_length(headers) > limit:
        raise _too_large(limit)


class UploadPace(NamedTuple):
    """How slowly a body may come: ``least_bytes`` in each period of ``seconds``, unless it is complete."""

    seconds: float
    least_bytes: float


class BoundedBody:
    """A request's body, refused as soon as more was received than the limit, or when it stalls or trickles.

    A slow connection is no fault, so the whole has no time of its own: only what comes in ``pace.seconds`` counts.

    Attributes:
        complete: all of it was received, or there is none.
        cuts_off: to answer now ends the connection, because too much would still come, or nobody knows how much.
    """

    def __init__(self, receive: Receive, headers: Headers, limit: int, pace: UploadPace) -> None:
        self._receive = receive
        self._limit = limit
        self._pace = pace
        self._received = 0
        self._last = math.inf
        self._begin_period()
        self.complete = not declared_length(headers) and "transfer-encoding" not in headers
        self._is_small = 0 < declared_length(headers) <= min(limit, SMALL_BODY)

    @property
    def cuts_off(self) -> bool:
        return not self.complete and not self._is_small

    def finish_by(self, deadline: float) -> None:
        """Let the body come until then at most, however fast it does; in seconds of the monotonic clock."""
        self._last = asyncio.get_running_loop().time() + deadline - time.monotonic()

    async def receive(self) -> Message:
        """Receive the next message, as ASGI's ``receive`` does.

        Raises:
            PayloadTooLargeError: the limit is passed.
            UploadTimeoutError: too little of the body came in the last time.
            DeadlineExceededError: it must be complete by now, and is not.
        """
        try:
            async with asyncio.timeout_at(None if self.complete else min(self._until, self._last)):
                message = await self._next()
        except TimeoutError:
            self._is_small = False  # whatever it declared, waiting for it has an end
            if self._last < self._until:
                raise DeadlineExceededError.before("the upload was complete") from None
            raise _too_slow(self._pace) from None
        if self._received > self._limit:
            raise _too_large(self._limit)
        if self._received >= self._enough:
            self._begin_period()
        return message

    async def discard(self) -> None:
        """Read on a little, so that a client that is still sending gets to see the answer before it is cut off."""
        until = self._received + self._limit
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self.complete and self._received < until:
                    await self._next()

    def _begin_period(self) -> None:
        self._until = asyncio.get_running_loop().time() + self._pace.seconds
        self._enough = self._received + max(self._pace.least_bytes, 1)

    async def _next(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        return message


def declared_length(headers: Headers) -> int:
    """Return the bytes that a body will have; 0 where the headers do not say."""
    declared = headers.get("content-length", "0")
    return int(declared) if declared.isdecimal() else 0


def _too_large(limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"The upload is larger than {limit / 2**20:g} MiB; compress it (flac, mp3, ogg) or split it",
        param="file",
    )


def _too_slow(pace: UploadPace) -> UploadTimeoutError:
    return UploadTimeoutError(
        f"The upload was too slow: less than {pace.least_bytes / 2**10:g} KiB of it came in {pace.seconds:g} s; "
        "send it over a faster connection, compress it (flac, mp3, ogg) or split it",
        param="file",
    )
