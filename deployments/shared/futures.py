"""Futures: how one gets what it waits for."""

from __future__ import annotations

import asyncio
from typing import TypeVar

Result = TypeVar("Result")


def settle(future: asyncio.Future[Result], result: Result | Exception) -> None:
    """Give ``future`` its result, or the exception to raise instead; a cancelled future stays as it is."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
