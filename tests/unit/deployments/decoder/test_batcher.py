"""Natural batching: what waits becomes the next batch, the most urgent first, one kind at a time."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from deployments.decoder.batcher import LANES, UNFINISHED, NaturalBatcher, Outcome
from deployments.shared.urgency import AHEAD_S

T = TypeVar("T")


@dataclass(eq=False)
class Item:
    """Takes one batch per entry of ``kinds``, of that kind, and its value is then its result."""

    value: int
    kinds: list[str] = field(default_factory=lambda: ["text"])
    priority: int = 1
    asked: float = 0.0

    @property
    def kind(self) -> str:
        return self.kinds[0]


class Worker:
    """Takes one kind from each item, once its gate is open; notes the batches. A negative value is an error."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, items: Sequence[Item]) -> list[Outcome[int]]:
        self.gate.wait(10)
        self.batches.append([item.value for item in items])
        return [self._advance(item) for item in items]

    @staticmethod
    def _advance(item: Item) -> Outcome[int]:
        if item.value < 0:
            return ValueError("negative")
        item.kinds.pop(0)
        return UNFINISHED if item.kinds else item.value


def answers(worker: Worker, max_size: int, items: Sequence[Item]) -> list[int | BaseException]:
    """What the items get that wait while the batch of an item 0 runs; their batches follow its."""

    async def scenario() -> list[int | BaseException]:
        batcher: NaturalBatcher[Item, int] = NaturalBatcher(worker, max_size, ThreadPoolExecutor(LANES))
        calls = [asyncio.create_task(batcher(item)) for item in (Item(0), *items)]
        await asyncio.sleep(0)
        worker.gate.set()
        return (await asyncio.gather(*calls, return_exceptions=True))[1:]

    return asyncio.run(scenario())


def ran(work: Callable[[Sequence[Item]], Sequence[Outcome[int]]], *values: int) -> list[int | BaseException]:
    async def scenario() -> list[int | BaseException]:
        batcher: NaturalBatcher[Item, int] = NaturalBatcher(work, 8, ThreadPoolExecutor(LANES))
        return await asyncio.gather(*(batcher(Item(value)) for value in values), return_exceptions=True)

    return asyncio.run(scenario())


def test_what_waits_becomes_the_next_batch() -> None:
    worker = Worker()
    assert answers(worker, 4, [Item(value) for value in range(1, 8)]) == [1, 2, 3, 4, 5, 6, 7]
    assert worker.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_most_urgent_come_first_and_nobody_starves() -> None:
    worker = Worker()
    waited = Item(1, priority=3, asked=0.0)
    late, high = Item(2, priority=2, asked=2 * AHEAD_S), Item(3, asked=AHEAD_S)
    answers(worker, 1, [late, high, waited])
    assert worker.batches == [[0], [3], [1], [2]]


def test_a_batch_is_of_one_kind_that_of_the_most_urgent() -> None:
    worker = Worker()
    items = [Item(1, ["beam"]), Item(2), Item(3, ["beam"]), Item(4)]
    answers(worker, 8, items)
    assert worker.batches == [[0, 2, 4], [1, 3]]


def test_what_is_unfinished_waits_again_in_its_old_place_and_its_neighbours_do_not_wait_for_it() -> None:
    worker = Worker()
    hard, easy, later = Item(1, ["text", "beam"], asked=1), Item(2, asked=2), Item(3, asked=3)
    assert answers(worker, 2, [hard, easy, later]) == [1, 2, 3]
    assert worker.batches == [[0, 1], [1], [2, 3]]


def test_a_result_is_given_out_before_an_unfinished_neighbour_goes_on() -> None:
    done: list[int] = []

    def work(items: Sequence[Item]) -> list[Outcome[int]]:
        if items[0].kind == "beam":
            beam_began.set()
            assert told.wait(10)
        return [Worker._advance(item) for item in items]

    beam_began, told = threading.Event(), threading.Event()

    async def scenario() -> None:
        batcher: NaturalBatcher[Item, int] = NaturalBatcher(work, 8, ThreadPoolExecutor(LANES))
        hard = asyncio.create_task(batcher(Item(1, ["text", "beam"])))
        done.append(await batcher(Item(2)))
        assert not hard.done()
        told.set()
        done.append(await hard)

    asyncio.run(scenario())
    assert beam_began.is_set()
    assert done == [2, 1]


def test_a_cancelled_item_does_not_enter_a_batch_and_harms_no_neighbour() -> None:
    worker = Worker()

    async def scenario() -> list[int | BaseException]:
        batcher: NaturalBatcher[Item, int] = NaturalBatcher(worker, 1, ThreadPoolExecutor(LANES))
        calls = [asyncio.create_task(batcher(Item(number))) for number in (1, 2, -3, 4)]
        await asyncio.sleep(0.01)
        calls[1].cancel()
        worker.gate.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    first, cancelled, failed, last = asyncio.run(scenario())
    assert (first, last) == (1, 4)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert isinstance(failed, ValueError)
    assert worker.batches == [[1], [-3], [4]]


@pytest.mark.parametrize("error", [ValueError, MemoryError])
def test_an_unforeseen_exception_fails_only_the_item_at_fault(error: type[Exception]) -> None:
    def work(items: Sequence[Item]) -> list[Outcome[int]]:
        if 13 in [item.value for item in items]:
            raise error("unlucky")
        return [item.value for item in items]

    first, failed, last = ran(work, 1, 13, 2)
    assert (first, last) == (1, 2)
    assert isinstance(failed, error)


def test_a_broken_worker_fails_its_batch_and_serves_the_next() -> None:
    def work(items: Sequence[Item]) -> list[Outcome[int]]:
        if items[0].value == 0:
            raise RuntimeError("broken")
        return [item.value for item in items]

    async def scenario() -> None:
        batcher: NaturalBatcher[Item, int] = NaturalBatcher(work, 8, ThreadPoolExecutor(LANES))
        with pytest.raises(RuntimeError, match="broken"):
            await batcher(Item(0))
        assert await batcher(Item(1)) == 1

    asyncio.run(scenario())


class TestTheLaneOfTheHighestPriority:
    """While a batch of others runs, as long as its gate is closed."""

    @staticmethod
    def batches(items: Sequence[Item], passing: int) -> tuple[list[list[int]], list[list[int]]]:
        """The batches of ``items`` before the gate is opened, when ``passing`` have their results, and after."""
        gate = threading.Event()
        batches: list[list[int]] = []

        def work(batch: Sequence[Item]) -> list[Outcome[int]]:
            if batch[0].value == 0:
                gate.wait(10)
            else:
                batches.append([item.value for item in batch])
            return [Worker._advance(item) for item in batch]

        async def scenario() -> list[list[int]]:
            batcher: NaturalBatcher[Item, int] = NaturalBatcher(work, 8, ThreadPoolExecutor(LANES))
            before = asyncio.create_task(batcher(Item(0)))
            await asyncio.sleep(0.01)
            calls = [asyncio.create_task(batcher(item)) for item in items]
            for passed in itertools.islice(asyncio.as_completed(calls), passing):
                await passed
            await asyncio.sleep(0.01)
            first = list(batches)
            gate.set()
            await asyncio.gather(before, *calls)
            return first

        first = asyncio.run(scenario())
        return first, batches[len(first) :]

    def test_it_passes_the_others_and_takes_none_of_them_with_it(self) -> None:
        items = [Item(1), Item(2, priority=0), Item(3), Item(4, priority=0)]
        assert self.batches(items, 2) == ([[2, 4]], [[1, 3]])

    def test_its_batches_are_of_one_kind_too(self) -> None:
        items = [Item(1, ["text", "beam"], priority=0), Item(2, priority=0), Item(3, ["beam"], priority=0, asked=1)]
        assert self.batches(items, 3) == ([[1, 2], [1, 3]], [])

    def test_nobody_else_enters_it(self) -> None:
        assert self.batches([Item(1), Item(2, ["beam"])], 0) == ([], [[1], [2]])


def test_items_of_the_highest_priority_take_both_lanes() -> None:
    both = threading.Barrier(2, timeout=10)

    def work(items: Sequence[Item]) -> list[Outcome[int]]:
        if items[0].kind != "text":
            both.wait()
        return [Worker._advance(item) for item in items]

    async def scenario() -> list[int]:
        batcher: NaturalBatcher[Item, int] = NaturalBatcher(work, 8, ThreadPoolExecutor(LANES))
        items = [Item(1, ["text", "beam"], priority=0), Item(2, ["text", "align"], priority=0)]
        return await asyncio.gather(*(batcher(item) for item in items))

    assert asyncio.run(scenario()) == [1, 2]


def test_in_the_other_lane_the_others_go_first() -> None:
    gates = {10: threading.Event(), 20: threading.Event()}
    done: list[int] = []

    def work(items: Sequence[Item]) -> list[Outcome[int]]:
        for item in items:
            if item.value in gates:
                gates[item.value].wait(10)
            done.append(item.value)
        return [item.value for item in items]

    async def scenario() -> None:
        batcher: NaturalBatcher[Item, int] = NaturalBatcher(work, 8, ThreadPoolExecutor(LANES))
        calls = [asyncio.create_task(batcher(item)) for item in (Item(10), Item(20, priority=0))]
        await asyncio.sleep(0.01)
        calls += [asyncio.create_task(batcher(item)) for item in (Item(2, priority=0), Item(1))]
        await asyncio.sleep(0.01)
        gates[10].set()
        await asyncio.gather(*calls[2:])
        gates[20].set()
        await asyncio.gather(*calls)

    asyncio.run(scenario())
    assert done == [10, 1, 2, 20]
