"""Batches form from what waits while the worker is busy."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from deployments.scheduling.batcher import NaturalBatcher


class Worker:
    """Doubles numbers, batch by batch, once its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.gate.wait(10)
        self.batches.append(list(items))
        return [ValueError("negative") if item < 0 else 2 * item for item in items]


def test_what_waits_becomes_the_next_batch() -> None:
    worker = Worker()

    async def scenario() -> list[int]:
        batcher: NaturalBatcher[int, int] = NaturalBatcher(worker, 4, ThreadPoolExecutor(1))
        calls = [asyncio.create_task(batcher(number)) for number in range(7)]
        await asyncio.sleep(0.01)
        worker.gate.set()
        return await asyncio.gather(*calls)

    assert asyncio.run(scenario()) == [0, 2, 4, 6, 8, 10, 12]
    assert worker.batches == [[0, 1, 2, 3], [4, 5, 6]]


def test_a_cancelled_item_does_not_enter_a_batch_and_harms_no_neighbour() -> None:
    worker = Worker()

    async def scenario() -> list[int | BaseException]:
        batcher: NaturalBatcher[int, int] = NaturalBatcher(worker, 1, ThreadPoolExecutor(1))
        calls = [asyncio.create_task(batcher(number)) for number in (1, 2, -3, 4)]
        await asyncio.sleep(0.01)
        calls[1].cancel()
        worker.gate.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    first, cancelled, failed, last = asyncio.run(scenario())
    assert (first, last) == (2, 8)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert isinstance(failed, ValueError)
    assert worker.batches == [[1], [-3], [4]]


def test_a_broken_worker_fails_its_batch_and_serves_the_next() -> None:
    def work(items: Sequence[int]) -> list[int | Exception]:
        if 0 in items:
            raise RuntimeError("broken")
        return list(items)

    async def scenario() -> None:
        batcher: NaturalBatcher[int, int] = NaturalBatcher(work, 8, ThreadPoolExecutor(1))
        with pytest.raises(RuntimeError, match="broken"):
            await batcher(0)
        assert await batcher(1) == 1

    asyncio.run(scenario())
