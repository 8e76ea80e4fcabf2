"""Items join the work while it goes on, and leave it one by one."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from deployments.encoder.feed import FedItem, Feed

NORMAL = 1

Take = Callable[[], FedItem[int, int] | None]


def test_an_item_joins_the_work_that_goes_on_and_a_finished_one_leaves_it() -> None:
    gate = threading.Event()
    rounds: list[list[int]] = []

    def work(take: Take) -> None:
        taken = []
        while (fed := take()) is not None:
            taken.append(fed.item)
            fed.settle(2 * fed.item)
            assert gate.wait(10)
        rounds.append(taken)

    async def scenario(executor: Executor) -> tuple[int, int]:
        feed: Feed[int, int] = Feed(work, executor)
        first = await feed(1, NORMAL)
        assert feed.busy, "the worker is still at it"
        second = asyncio.create_task(feed(2, NORMAL))
        await asyncio.sleep(0)
        gate.set()
        return first, await second

    with ThreadPoolExecutor(1) as executor:  # whose end is that of the work
        assert asyncio.run(scenario(executor)) == (2, 4)
    assert rounds[0] == [1, 2]


def test_a_cancelled_item_is_not_taken_and_harms_no_neighbour() -> None:
    gate = threading.Event()
    taken = []

    def work(take: Take) -> None:
        assert gate.wait(10)
        while (fed := take()) is not None:
            taken.append(fed.item)
            fed.settle(ValueError("negative") if fed.item < 0 else 2 * fed.item)

    async def scenario() -> list[int | BaseException]:
        feed: Feed[int, int] = Feed(work, ThreadPoolExecutor(1))
        calls = [asyncio.create_task(feed(number, NORMAL)) for number in (1, 2, -3, 4)]
        await asyncio.sleep(0.01)
        calls[1].cancel()
        await asyncio.sleep(0.01)
        gate.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    first, cancelled, failed, last = asyncio.run(scenario())
    assert (first, last) == (2, 8)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert isinstance(failed, ValueError)
    assert taken == [1, -3, 4]


def test_work_that_breaks_fails_what_it_had_taken_and_goes_on_with_the_rest() -> None:
    def work(take: Take) -> None:
        fed = take()
        assert fed is not None
        if fed.item == 0:
            raise RuntimeError("broken")
        fed.settle(fed.item)

    async def scenario() -> tuple[int | BaseException, int | BaseException]:
        feed: Feed[int, int] = Feed(work, ThreadPoolExecutor(1))
        broken, fine = await asyncio.gather(feed(0, NORMAL), feed(1, NORMAL), return_exceptions=True)
        assert await feed(2, NORMAL) == 2
        return broken, fine

    broken, fine = asyncio.run(scenario())
    assert fine == 1
    with pytest.raises(RuntimeError, match="broken"):
        raise broken if isinstance(broken, BaseException) else AssertionError(broken)


def test_the_most_urgent_item_is_taken_first_in_whatever_order_they_came() -> None:
    gate = threading.Event()
    taken: list[int] = []

    def work(take: Take) -> None:
        assert gate.wait(10)
        while (fed := take()) is not None:
            taken.append(fed.item)
            fed.settle(fed.item)

    async def scenario() -> None:
        feed: Feed[int, int] = Feed(work, ThreadPoolExecutor(1))
        calls = [asyncio.create_task(feed(number, priority)) for number, priority in ((1, 2), (2, 1), (3, 0), (4, 1))]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*calls)

    asyncio.run(scenario())
    assert taken == [3, 2, 4, 1]
