"""The clients: each repeats its request as it is told to until it is answered, then goes on to the next."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from loadtests.common.samples import upload

PATH = "/v1/audio/transcriptions"
OK = 200
BROKEN = 0
WRONG_TEXT, UNREADABLE = "wrong_text", "unreadable"
HIGH_EVERY = 10
BACKOFF_S = 1.0
CONNECTION_ERRORS = (aiohttp.ClientError, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class Errand:
    """What a client is sent with.

    Attributes:
        expected: the text that the service gave for it before; None where it gave none.
    """

    name: str
    content: bytes
    expected: str | None = None


@dataclass(frozen=True)
class Attempt:
    """One HTTP request. Times in seconds, ``began`` of the monotonic clock.

    Attributes:
        returned: whether its client was refused before, and waited as long as it was told.
        status: 0 for a broken connection.
        code: of an error, or what broke; ``wrong_text`` for another text than the expected one.
    """

    errand: str
    priority: str
    returned: bool
    began: float
    seconds: float
    status: int
    code: str = ""
    retry_after_s: float | None = None
    text: str | None = None


async def crowd(
    session: aiohttp.ClientSession, url: str, errands: Sequence[Errand], *, clients: int, seconds: float
) -> list[Attempt]:
    """All attempts of clients that begin requests for ``seconds`` and see through what they began.

    A request that is refused after that is not repeated any more.
    """
    following, until = itertools.cycle(errands), time.monotonic() + seconds

    async def client(priority: str) -> list[Attempt]:
        attempts: list[Attempt] = []
        while time.monotonic() < until:
            attempts += await ask(session, url, next(following), priority, until)
        return attempts

    priorities = ["normal" if number % HIGH_EVERY else "high" for number in range(clients)]
    return [attempt for found in await asyncio.gather(*map(client, priorities)) for attempt in found]


async def ask(
    session: aiohttp.ClientSession, url: str, errand: Errand, priority: str = "normal", until: float = math.inf
) -> list[Attempt]:
    """One request with all its attempts: it is repeated for as long as it is refused and told when to come back.

    Args:
        until: of the monotonic clock; what is refused later is given up.
    """
    attempts = [await _send(session, url, errand, priority, returned=False)]
    while attempts[-1].retry_after_s is not None and time.monotonic() < until:
        await asyncio.sleep(attempts[-1].retry_after_s)
        attempts.append(await _send(session, url, errand, priority, returned=True))
    if attempts[-1].status != OK:
        await asyncio.sleep(BACKOFF_S)
    return attempts


async def _send(session: aiohttp.ClientSession, url: str, errand: Errand, priority: str, *, returned: bool) -> Attempt:
    form, began = upload(errand.content, {}), time.monotonic()
    headers = {"content-type": form.content_type, "x-priority": priority}
    status, retry_after, document = BROKEN, None, b""
    try:
        async with session.post(url + PATH, data=form.body, headers=headers) as answer:
            status, retry_after = answer.status, answer.headers.get("retry-after")
            document = await answer.read()
        text, code = _read(document, errand)
    except CONNECTION_ERRORS as error:
        status, text, code = BROKEN, None, type(error).__name__
    seconds, told_s = time.monotonic() - began, float(retry_after) if retry_after else None
    return Attempt(errand.name, priority, returned, began, seconds, status, code, told_s, text)


def _read(body: bytes, errand: Errand) -> tuple[str | None, str]:
    """The text, and the code of what is wrong."""
    try:
        document = json.loads(body)
        if "error" in document:
            return None, str(document["error"]["code"])
        text = str(document["text"])
    except (ValueError, KeyError, TypeError):
        return None, UNREADABLE
    return text, "" if errand.expected in {None, text} else WRONG_TEXT
