"""Work for a thread that takes the next item whenever it has room for one: nothing waits for the end of a batch."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

from deployments.shared.futures import settle
from deployments.shared.urgency import UrgentFirst

Item = TypeVar("Item")
Result = TypeVar("Result")


class FedItem(Generic[Item, Result]):
    """An item, and the way back to its giver."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Result] = self._loop.create_future()

    def settle(self, result: Result | Exception) -> None:
        """Give the result back, or the exception to raise instead; from any thread."""
        self._loop.call_soon_threadsafe(settle, self.future, result)


class Feed(Generic[Item, Result]):
    """The items that wait for ``work``, which runs in ``executor`` while any do. It belongs to one event loop.

    Args:
        work: is given a function that takes the most urgent item, or returns None if none waits; settles every item
            that it took, and returns when there is nothing left to do. An exception that it raises goes to every item
            that it took and did not settle.
        executor: the thread of the work.
    """

    def __init__(self, work: Callable[[Callable[[], FedItem[Item, Result] | None]], None], executor: Executor) -> None:
        self._work = work
        self._executor = executor
        self._waiting: UrgentFirst[FedItem[Item, Result]] = UrgentFirst()
        self._lock = threading.Lock()
        self._taken: list[FedItem[Item, Result]] = []
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether an item waits or is being worked on."""
        return self._loop_task is not None

    async def __call__(self, item: Item, priority: int) -> Result:
        """Wait for the result of ``item``. A cancelled item is never taken.

        Args:
            item: the input of the work.
            priority: 0 is served first; see ``urgency``.
        """
        fed: FedItem[Item, Result] = FedItem(item)
        with self._lock:
            self._waiting.push(fed, priority, time.monotonic())
        if self._loop_task is None:
            self._loop_task = asyncio.create_task(self._run())
        return await fed.future

    async def _run(self) -> None:
        while self._waiting:
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, self._work, self._take)
            except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to the callers)
                for fed in self._taken:
                    fed.settle(error)
            self._taken.clear()
        self._loop_task = None

    def _take(self) -> FedItem[Item, Result] | None:
        while (fed := self._pop()) is not None:
            if not fed.future.done():
                self._taken = [item for item in self._taken if not item.future.done()]
                self._taken.append(fed)
                return fed
        return None

    def _pop(self) -> FedItem[Item, Result] | None:
        with self._lock:
            return self._waiting.pop() if self._waiting else None
