"""Threads of which long work never has all, so that short work passes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Generic, TypeVar

from deployments.shared.futures import settle
from deployments.shared.urgency import UrgentFirst

Result = TypeVar("Result")


class _Waiting(Generic[Result]):
    """Work that has no thread yet, and the future that its caller waits for."""

    def __init__(self, work: Callable[[], Result], *, is_long: bool) -> None:
        self.work = work
        self.is_long = is_long
        self.future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()


class Lanes:
    """A pool of threads that runs the most urgent work first. It belongs to one event loop.

    Long work has at most all threads but one, and goes first where one of those is free, so neither kind keeps the
    other out. If there is only one thread, both share it.

    Args:
        executor: the threads, which do nothing else.
        threads: how many there are.
    """

    def __init__(self, executor: Executor, threads: int) -> None:
        self._executor = executor
        self._free = threads
        self._long_free = threads - 1
        self._has_long_lane = threads > 1
        self._short: UrgentFirst[_Waiting[Any]] = UrgentFirst()
        self._long: UrgentFirst[_Waiting[Any]] = UrgentFirst()
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, work: Callable[[], Result], priority: int, *, is_long: bool = False) -> Result:
        """Run ``work`` and return its result. The work of a cancelled caller is not begun.

        Args:
            work: what to run in a thread.
            priority: 0 is served first; see ``deployments.shared.urgency``.
            is_long: the work takes seconds, not milliseconds.
        """
        waiting = _Waiting(work, is_long=is_long and self._has_long_lane)
        (self._long if waiting.is_long else self._short).push(waiting, priority, time.monotonic())
        self._start()
        return await waiting.future

    def _start(self) -> None:
        while self._free and (waiting := self._next()) is not None:
            if waiting.future.done():
                continue
            self._free -= 1
            self._long_free -= waiting.is_long
            task = asyncio.create_task(self._run(waiting))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _next(self) -> _Waiting[Any] | None:
        if self._long and self._long_free:
            return self._long.pop()
        return self._short.pop() if self._short else None

    async def _run(self, waiting: _Waiting[Any]) -> None:
        try:
            settle(waiting.future, await asyncio.get_running_loop().run_in_executor(self._executor, waiting.work))
        except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to the caller)
            settle(waiting.future, error)
        self._free += 1
        self._long_free += waiting.is_long
        self._start()
