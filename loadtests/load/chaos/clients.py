"""The clients of the chaos test: each does what the menu says, and retries as a sane client does."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import aiohttp

from loadtests.common.client import hang_up, send
from loadtests.common.replies import HUNG_UP, INTERNAL, NO_ANSWER, OK, Reply
from loadtests.load.chaos.menu import Intent, Menu, Purpose

GRACE_S = 10.0
MOST_ATTEMPTS = 10
BACKOFF_S = 0.5


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
    """Do one thing of the menu, with the retries of a sane client."""
    intent = menu.choose()
    if intent.purpose == "hang up":
        return Done(intent.purpose, intent.size, (await _give_up(url, intent, *menu.moment()),))
    attempts = [await attempt(session, url, intent)]
    while is_worth_retrying(attempts[-1].reply) and len(attempts) < MOST_ATTEMPTS:
        await asyncio.sleep(attempts[-1].reply.retry_after_s or BACKOFF_S * len(attempts))
        attempts.append(await attempt(session, url, intent))
    return Done(intent.purpose, intent.size, tuple(attempts))


async def attempt(session: aiohttp.ClientSession, url: str, intent: Intent) -> Attempt:
    """Make one attempt, whatever comes of it."""
    began = time.monotonic()
    reply = await send(session, url, intent.upload, expected=intent.expected, patience_s=intent.deadline_s + GRACE_S)
    return Attempt(intent.purpose, intent.sample, began, time.monotonic(), reply)


def is_worth_retrying(reply: Reply) -> bool:
    """Tell whether a sane client tries again: when it is told to, and when nothing answered it; a 404 it believes."""
    if reply.outcome == "no answer":
        return reply.status in {NO_ANSWER, OK} or reply.status >= INTERNAL
    return reply.outcome in {"error", "refused", "late"} and reply.retry_after_s is not None


async def _give_up(url: str, intent: Intent, share: float, wait_s: float) -> Attempt:
    began = time.monotonic()
    await hang_up(url, intent.upload, share=share, wait_s=wait_s)
    return Attempt(intent.purpose, intent.sample, began, time.monotonic(), HUNG_UP)
