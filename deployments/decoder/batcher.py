"""Batches that form by themselves: whatever waits when the worker becomes free is the next batch.

``@serve.batch`` fixes a batch while the one before it still runs, so with a short wait its batches stay small under
load. Here nothing ever waits for company, and batches grow exactly as fast as the worker falls behind.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from deployments.shared.futures import settle
from deployments.shared.urgency import UrgentFirst


class _Unfinished(enum.Enum):
    UNFINISHED = enum.auto()


UNFINISHED: Final = _Unfinished.UNFINISHED
"""An outcome that is no result: the item needs another batch."""


class Batchable(Protocol):
    """An item that takes one batch or several."""

    @property
    def priority(self) -> int:
        """0 is served first; see ``deployments.shared.urgency``."""
        ...

    @property
    def asked(self) -> float:
        """When the item arrived, in seconds; it keeps this place in the queue from batch to batch."""
        ...

    @property
    def kind(self) -> Hashable:
        """What items must have in common to share a batch; read only while no batch runs."""
        ...


Item = TypeVar("Item", bound=Batchable)
Result = TypeVar("Result")
Outcome: TypeAlias = Result | Exception | Literal[_Unfinished.UNFINISHED]


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Result]


class NaturalBatcher(Generic[Item, Result]):
    """A queue whose waiting items are the next batch: at most ``max_size`` items of one kind, one batch at a time.

    ``work`` runs on each batch in ``executor``. The most urgent item decides the kind. A batcher belongs to one event
    loop. ``work`` returns one outcome per item, in order: its result; or the exception to raise to its caller; or
    ``UNFINISHED``, and the item waits for a batch of its next kind. Where ``work`` raises an exception, it is run again
    on each item of the batch alone, so that only the item at fault fails.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Sequence[Outcome[Result]]], max_size: int, executor: Executor
    ) -> None:
        self._work = work
        self._max_size = max_size
        self._executor = executor
        self._waiting: UrgentFirst[_Waiting[Item, Result]] = UrgentFirst()
        self._loop_task: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """Add ``item`` to the next batch of its kind and wait for its result. A cancelled item never enters a batch."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._wait(_Waiting(item, future))
        if self._loop_task is None:
            self._loop_task = asyncio.create_task(self._run_batches())
        return await future

    def _wait(self, waiting: _Waiting[Item, Result]) -> None:
        self._waiting.push(waiting, waiting.item.priority, waiting.item.asked)

    async def _run_batches(self) -> None:
        while batch := self._next_batch():
            await self._run(batch)
        self._loop_task = None

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        others: list[_Waiting[Item, Result]] = []
        while self._waiting and len(batch) < self._max_size:
            waiting = self._waiting.pop()
            if waiting.future.done():
                continue
            joins = not batch or waiting.item.kind == batch[0].item.kind
            (batch if joins else others).append(waiting)
        for waiting in others:
            self._wait(waiting)
        return batch

    async def _run(self, batch: list[_Waiting[Item, Result]]) -> None:
        outcomes = await self._outcomes([waiting.item for waiting in batch])
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if outcome is UNFINISHED:
                self._wait(waiting)
            else:
                settle(waiting.future, outcome)

    async def _outcomes(self, items: list[Item]) -> Sequence[Outcome[Result]]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._work, items)
        except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to a caller)
            if len(items) == 1:
                return [error]
        return [outcome for item in items for outcome in await self._outcomes([item])]
