"""An event loop whose clock jumps to the next timer: hours of waiting take milliseconds, and every run is the same."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")

BEGIN = 1000.0


class _Jumping(selectors.SelectSelector):
    """A selector that sleeps by moving the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits, and for nothing")
        self.now += max(0.0, timeout)
        return super().select(0)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, with ``time.time`` and ``time.monotonic`` on the virtual clock."""
    selector = _Jumping()

    def clock() -> float:
        return selector.now

    with (
        mock.patch("time.monotonic", clock),
        mock.patch("time.time", clock),
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner,
    ):
        return runner.run(coroutine)
