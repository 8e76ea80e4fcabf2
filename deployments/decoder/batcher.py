"""Batches that form by themselves: whatever waits when a worker becomes free is the next batch.

``@serve.batch`` fixes a batch while the one before it still runs, so with a short wait its batches stay small under
load. Here nothing ever waits for company, and batches grow exactly as fast as the workers fall behind.

A batch of many windows takes seconds. What has the highest priority, as what is spoken at this moment, has a lane of
its own, in which it passes them; and the others have one, in which it lets them go first.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from deployments.shared.futures import settle
from deployments.shared.urgency import HIGHEST, UrgentFirst

LANES: Final = 2
"""Batches at the same time: one of items of the highest priority, and one of the others, or of these if there are no
others."""


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
        """What items must have in common to share a batch; read only while the item waits."""
        ...


Item = TypeVar("Item", bound=Batchable)
Result = TypeVar("Result")
Outcome: TypeAlias = Result | Exception | Literal[_Unfinished.UNFINISHED]


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Result]


@dataclass(slots=True)
class _Lane(Generic[Item, Result]):
    """One batch after the other.

    Attributes:
        queues: what it takes items from; from a later one only if those before hold none.
        task: runs its batches; None while nothing waits for it.
    """

    queues: tuple[UrgentFirst[_Waiting[Item, Result]], ...]
    task: asyncio.Task[None] | None = None


class NaturalBatcher(Generic[Item, Result]):
    """A queue whose waiting items are the next batch: at most ``max_size`` items of one kind, in ``LANES`` lanes.

    ``work`` runs on each batch in ``executor``, which has a thread for each lane. The most urgent item decides the
    kind. A batcher belongs to one event loop. ``work`` returns one outcome per item, in order: its result; or the
    exception to raise to its caller; or ``UNFINISHED``, and the item waits for a batch of its next kind. Where ``work``
    raises an exception, it is run again on each item of the batch alone, so that only the item at fault fails.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Sequence[Outcome[Result]]], max_size: int, executor: Executor
    ) -> None:
        self._work = work
        self._max_size = max_size
        self._executor = executor
        self._highest: UrgentFirst[_Waiting[Item, Result]] = UrgentFirst()
        self._others: UrgentFirst[_Waiting[Item, Result]] = UrgentFirst()
        self._lanes = (_Lane((self._highest,)), _Lane((self._others, self._highest)))

    async def __call__(self, item: Item) -> Result:
        """Add ``item`` to the next batch of its kind and wait for its result. A cancelled item never enters a batch."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._wait(_Waiting(item, future))
        self._start_lanes()
        return await future

    def _start_lanes(self) -> None:
        for lane in self._lanes:
            if lane.task is None and any(lane.queues):
                lane.task = asyncio.create_task(self._run_batches(lane))

    def _wait(self, waiting: _Waiting[Item, Result]) -> None:
        queue = self._highest if waiting.item.priority == HIGHEST else self._others
        queue.push(waiting, waiting.item.priority, waiting.item.asked)

    async def _run_batches(self, lane: _Lane[Item, Result]) -> None:
        while batch := next(filter(None, map(self._next_batch, lane.queues)), None):
            await self._run(batch)
            self._start_lanes()
        lane.task = None

    def _next_batch(self, queue: UrgentFirst[_Waiting[Item, Result]]) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        others: list[_Waiting[Item, Result]] = []
        while queue and len(batch) < self._max_size:
            waiting = queue.pop()
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
