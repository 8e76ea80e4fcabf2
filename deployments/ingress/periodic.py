"""Does something again and again, whatever happens to it in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

from deployments.ingress.cancellation import is_cancelled

logger = logging.getLogger("ray.serve")


async def repeat(turn: Callable[[], Awaitable[None]], period_s: float, what: str) -> NoReturn:
    """Await ``turn`` until this is cancelled. A fault that nobody foresaw is logged once, and the next turn comes.

    Args:
        turn: is called anew each time.
        period_s: seconds between the end of one turn and the next.
        what: the name of the turn in the log, with a capital letter.
    """
    has_failed = False
    while True:
        try:
            await turn()
        except (Exception, asyncio.CancelledError):
            if is_cancelled():
                raise
            if not has_failed:
                logger.exception("%s failed in an unforeseen way and is tried again; this is logged once", what)
            has_failed = True
        await asyncio.sleep(period_s)
