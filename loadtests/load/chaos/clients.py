"""The clients of the chaos test: each does what the menu says, and tries again as OpenAI's official client does."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import aiohttp

from loadtests.common.client import hang_up, send
from loadtests.common.replies import HUNG_UP, INTERNAL, NO_ANSWER, Reply
from loadtests.load.chaos.menu import Intent, Menu, Purpose

GRACE_S = 10.0
MOST_RETRIES = 2
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 8.0
JITTER = 0.25
LONGEST_RETRY_AFTER_S = 60.0
RETRIED = frozenset({408, 409, 429})
"""What the official client (openai 2) has by default."""


@dataclass(frozen=True)
class Attempt:
    """One HTTP request and what came of it. Times in seconds of the monotonic clock."""

    purpose: Purpose
    sample: str
    began: float
    ended: float
    reply: Reply


@dataclass(frozen=True)
class Done:
    """One request with all its attempts, the last one last."""

    purpose: Purpose
    size: str
    attempts: tuple[Attempt, ...]

    @property
    def seconds(self) -> float:
        """How long its client waited, retries included."""
        return self.attempts[-1].ended - self.attempts[0].began


async def perform(session: aiohttp.ClientSession, url: str, menu: Menu) -> Done:
    """Do one thing of the menu, with the retries of the official client."""
    intent = menu.choose()
    if intent.purpose == "hang up":
        return Done(intent.purpose, intent.size, (await _give_up(url, intent, *menu.moment()),))
    attempts = [await attempt(session, url, intent)]
    while is_retried(attempts[-1].reply) and len(attempts) <= MOST_RETRIES:
        await asyncio.sleep(pause_s(attempts[-1].reply, len(attempts), menu.jitter()))
        attempts.append(await attempt(session, url, intent))
    return Done(intent.purpose, intent.size, tuple(attempts))


async def attempt(session: aiohttp.ClientSession, url: str, intent: Intent) -> Attempt:
    """Make one attempt, whatever comes of it."""
    began = time.monotonic()
    reply = await send(session, url, intent.upload, expected=intent.expected, patience_s=intent.deadline_s + GRACE_S)
    return Attempt(intent.purpose, intent.sample, began, time.monotonic(), reply)


def is_retried(reply: Reply) -> bool:
    """Tell whether the client tries again by itself; it never does once an answer has begun."""
    if reply.discourages_retry:
        return False
    if reply.outcome == "no answer" and reply.status == NO_ANSWER:
        return True
    return reply.status in RETRIED or reply.status >= INTERNAL


def pause_s(reply: Reply, attempts: int, chance: float) -> float:
    """Return the seconds before the next attempt.

    Args:
        attempts: made so far.
        chance: between 0 and 1, drawn anew each time.
    """
    told_s = reply.retry_after_s
    if told_s is not None and 0 < told_s <= LONGEST_RETRY_AFTER_S:
        return told_s
    doubled_s = FIRST_BACKOFF_S * float(2 ** (attempts - 1))
    return min(doubled_s, LONGEST_BACKOFF_S) * (1 - JITTER * chance)


async def _give_up(url: str, intent: Intent, share: float, wait_s: float) -> Attempt:
    began = time.monotonic()
    await hang_up(url, intent.upload, share=share, wait_s=wait_s)
    return Attempt(intent.purpose, intent.sample, began, time.monotonic(), HUNG_UP)
