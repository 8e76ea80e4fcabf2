"""Batches that form by themselves: whatever waits when the worker becomes free is the next batch.

``@serve.batch`` fixes a batch while the one before it still runs, so with a short wait its batches stay small under
load. Here nothing ever waits for company, and batches grow exactly as fast as the worker falls behind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from deployments.scheduling.futures import settle

Item = TypeVar("Item")
Result = TypeVar("Result")


class NaturalBatcher(Generic[Item, Result]):
    """Runs ``work`` on batches of at most ``max_size`` items, one batch at a time, in ``executor``.

    Lives in one event loop. ``work`` returns one result an item, in order; an exception it returns in place of a
    result is raised to that item's caller, an exception it raises is raised to every caller of the batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        max_size: int,
        executor: Executor,
    ) -> None:
        self._work = work
        self._max_size = max_size
        self._executor = executor
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._loop_task: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """Adds ``item`` to the next batch and waits for its result. A cancelled item never enters a batch."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._loop_task is None:
            self._loop_task = asyncio.create_task(self._run_batches())
        return await future

    async def _run_batches(self) -> None:
        while batch := self._next_batch():
            await self._run(batch)
        self._loop_task = None

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._max_size:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        items = [item for item, _ in batch]
        results: Sequence[Result | Exception]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._executor, self._work, items)
        except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to the callers)
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            settle(future, result)
