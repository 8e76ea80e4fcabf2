"""The ways in which a live session ends: as it should, and otherwise."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from loadtests.benchmarks.parts.live_speaker import PATH, PIECE, PIECE_S, SILENCE, START

LONGEST_S: Final = 6.0
FLOOD_TIMES: Final = 40
"""How often a flood sends its recording: more audio than a session may be ahead."""

Way = Callable[[ClientConnection, bytes, random.Random], Awaitable[None]]
"""What is done with an open session; takes what may be said, 16 kHz mono int16, and what chooses moments."""


async def end(url: str, way: Way, pcm: bytes, rng: random.Random) -> None:
    """Open a session and end it in a way.

    Args:
        url: the base URL of the service.
        way: one of ``WAYS``.
        pcm: what may be said, 16 kHz mono int16.
        rng: chooses moments.
    """
    async with connect(f"{url.replace('http', 'ws', 1)}{PATH}") as socket:
        await socket.send(json.dumps(START))
        await way(socket, pcm, rng)


async def waits_for_its_text(socket: ClientConnection, pcm: bytes, rng: random.Random) -> None:
    """Say something in the time that it takes, and read events until its text is there."""
    del rng
    for first in range(0, len(pcm), PIECE):
        await socket.send(pcm[first : first + PIECE])
        await asyncio.sleep(PIECE_S)
    await socket.send(SILENCE)
    async for message in socket:
        if "transcription.completed" in str(message):
            return
    raise ConnectionError("the session ended without a text")


async def is_abandoned(socket: ClientConnection, pcm: bytes, rng: random.Random) -> None:
    """Break off in the middle of a word, without a goodbye."""
    for first in range(0, rng.randrange(PIECE, len(pcm)), PIECE):
        await socket.send(pcm[first : first + PIECE])
        await asyncio.sleep(PIECE_S)
    socket.transport.abort()


async def says_nothing(socket: ClientConnection, pcm: bytes, rng: random.Random) -> None:
    """Stay for a while, and vanish."""
    del pcm
    await asyncio.sleep(rng.uniform(0.0, LONGEST_S))
    socket.transport.abort()


async def floods(socket: ClientConnection, pcm: bytes, rng: random.Random) -> None:
    """Send minutes of audio at once, and read until the service has enough."""
    del rng
    with suppress(ConnectionClosed):
        for _ in range(FLOOD_TIMES):
            await socket.send(pcm + SILENCE)
        await socket.wait_closed()


async def never_reads(socket: ClientConnection, pcm: bytes, rng: random.Random) -> None:
    """Speak, let the answers lie, and vanish."""
    await socket.send(pcm + SILENCE)
    await asyncio.sleep(rng.uniform(0.0, LONGEST_S))
    socket.transport.abort()


async def talks_nonsense(socket: ClientConnection, pcm: bytes, rng: random.Random) -> None:
    """Send what is no event, and audio between it; then close as one should."""
    for first in range(0, len(pcm), 10 * PIECE):
        await socket.send(rng.choice(("{", "[]", '{"type": "no.such.event"}', '{"type": 7}', "\0")))
        await socket.send(pcm[first : first + rng.randrange(PIECE)])


WAYS: Final[tuple[Way, ...]] = (
    waits_for_its_text,
    is_abandoned,
    says_nothing,
    floods,
    never_reads,
    talks_nonsense,
)
