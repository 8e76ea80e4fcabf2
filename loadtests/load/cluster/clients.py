"""Clients that each send their next request when the last one is answered, and retry as OpenAI's own client does."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from loadtests.common.client import Upload, send
from loadtests.common.replies import INTERNAL, NO_ANSWER, Reply

MOST_RETRIES = 2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
LONGEST_RETRY_AFTER_S = 60.0
RETRIED = frozenset({NO_ANSWER, 408, 409, 429})
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Visit:
    """One request of a client with all its attempts.

    Attributes:
        began, ended: seconds on the monotonic clock.
        replies: of each attempt, the last one last.
    """

    began: float
    ended: float
    replies: tuple[Reply, ...]

    @property
    def seconds(self) -> float:
        """How long its client waited, retries included."""
        return self.ended - self.began

    @property
    def is_lost(self) -> bool:
        """Whether the client gave up without a text."""
        return self.replies[-1].text is None


def pause_s(reply: Reply, retries: int) -> float | None:
    """Return the seconds that OpenAI's client waits before it tries again; None if it does not.

    Args:
        retries: how often it has tried again already.
    """
    worth_it = reply.status in RETRIED or reply.status >= INTERNAL
    if not worth_it or reply.discourages_retry or retries == MOST_RETRIES:
        return None
    if reply.retry_after_s is not None and 0 < reply.retry_after_s <= LONGEST_RETRY_AFTER_S:
        return reply.retry_after_s
    return min(FIRST_PAUSE_S * 2.0**retries, LONGEST_PAUSE_S)


async def keep_asking(
    url: str, uploads: Mapping[str, Upload], expected: Mapping[str, str], *, clients: int, seconds: float
) -> list[Visit]:
    """Load ``url`` for ``seconds``, and until all is answered; return the visits in the order of their ends.

    Args:
        uploads, expected: by the name of the clip, what is sent and the right text.
    """
    visits: list[Visit] = []
    following, until = itertools.cycle(uploads), time.monotonic() + seconds
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:

        async def client(names: Iterator[str]) -> None:
            while time.monotonic() < until:
                name = next(names)
                visits.append(await _visit(session, url, uploads[name], expected.get(name)))

        await asyncio.gather(*(client(following) for _ in range(clients)))
    return visits


async def learn(url: str, uploads: Mapping[str, Upload]) -> dict[str, str]:
    """Return the text of each clip, as a single client gets it.

    Raises:
        RuntimeError: a clip got none.
    """
    texts = {}
    async with aiohttp.ClientSession() as session:
        for name, upload in uploads.items():
            visit = await _visit(session, url, upload, None)
            if visit.replies[-1].text is None:
                raise RuntimeError(f"{name} got no text: {visit.replies[-1]}")
            texts[name] = visit.replies[-1].text
    return texts


def retried(visits: Sequence[Visit]) -> list[str]:
    """Return why each attempt that was made again had failed."""
    return [f"{reply.status} {reply.code}" for visit in visits for reply in visit.replies[:-1]]


async def _visit(session: aiohttp.ClientSession, url: str, upload: Upload, expected: str | None) -> Visit:
    began, replies = time.monotonic(), []
    while True:
        replies.append(await send(session, url, upload, expected=expected, patience_s=PATIENCE_S))
        pause = pause_s(replies[-1], len(replies) - 1)
        if pause is None:
            return Visit(began, time.monotonic(), tuple(replies))
        await asyncio.sleep(pause)
