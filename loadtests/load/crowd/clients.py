"""The clients of a crowd: each repeats its request as it is told to until it is answered, then goes on to the next."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import aiohttp

from loadtests.common.client import Upload, send
from loadtests.common.replies import Reply

HIGH_EVERY = 10
BACKOFF_S = 1.0


@dataclass(frozen=True)
class Errand:
    """What a client is sent with.

    Attributes:
        expected: the text that the service gave for it before; None where it gave none.
    """

    name: str
    upload: Upload
    expected: str | None = None


@dataclass(frozen=True)
class Visit:
    """One HTTP request of a client.

    Attributes:
        returned: whether the client was refused before, and waited as long as it was told.
        began: seconds of the monotonic clock.
    """

    errand: str
    priority: str
    returned: bool
    began: float
    seconds: float
    reply: Reply


async def crowd(
    session: aiohttp.ClientSession, url: str, errands: Sequence[Errand], *, clients: int, seconds: float
) -> list[Visit]:
    """Return all visits of clients that begin requests for ``seconds`` and see through what they began.

    A request that is refused after that is not repeated any more.
    """
    following, until = itertools.cycle(errands), time.monotonic() + seconds

    async def client(priority: str) -> list[Visit]:
        visits: list[Visit] = []
        while time.monotonic() < until:
            visits += await run_errand(session, url, next(following), priority, until)
        return visits

    priorities = ["normal" if number % HIGH_EVERY else "high" for number in range(clients)]
    return [visit for found in await asyncio.gather(*map(client, priorities)) for visit in found]


async def run_errand(
    session: aiohttp.ClientSession, url: str, errand: Errand, priority: str = "normal", until: float = math.inf
) -> list[Visit]:
    """Make one request and repeat it for as long as it is refused and told when to come back; return all visits.

    Args:
        until: a moment of the monotonic clock; what is refused later is given up.
    """
    visits = [await _visit(session, url, errand, priority, returned=False)]
    while (wait_s := visits[-1].reply.retry_after_s) is not None and time.monotonic() < until:
        await asyncio.sleep(wait_s)
        visits.append(await _visit(session, url, errand, priority, returned=True))
    if visits[-1].reply.text is None:
        await asyncio.sleep(BACKOFF_S)
    return visits


async def _visit(session: aiohttp.ClientSession, url: str, errand: Errand, priority: str, *, returned: bool) -> Visit:
    began = time.monotonic()
    reply = await send(session, url, replace(errand.upload, priority=priority), expected=errand.expected)
    return Visit(errand.name, priority, returned, began, time.monotonic() - began, reply)
