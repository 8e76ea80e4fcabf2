"""Slots are granted by priority, bounded, and never while a stage may still write into them."""

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.contracts import Area
from deployments.errors import DeadlineExceededError, QueueFullError, SlotViolationError
from deployments.memory.slab import Slab, SlabLayout
from deployments.scheduling.admission import Admission, Lease, Priority
from deployments.statistics import QueueStatistics

SOON = 60.0


def admission(slots: int = 2, max_queue_size: int = 10, slab: Slab | None = None) -> Admission:
    return Admission(slots, max_queue_size, slab, QueueStatistics())


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 10))


async def acquire(queue: Admission, priority: Priority = Priority.NORMAL, seconds: float = SOON) -> Lease:
    return await queue.acquire(priority, time.time() + seconds)


def test_grants_until_the_slots_are_used_up_then_in_order() -> None:
    async def scenario() -> None:
        queue = admission(slots=1)
        held = await acquire(queue)
        order: list[int] = []

        async def client(number: int) -> None:
            lease = await acquire(queue)
            order.append(number)
            lease.close()

        clients = [asyncio.create_task(client(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert order == []
        held.close()
        await asyncio.gather(*clients)
        assert order == [0, 1, 2, 3, 4]
        assert queue.in_use == 0

    run(scenario())


def test_higher_priority_overtakes() -> None:
    async def scenario() -> None:
        queue = admission(slots=1)
        held = await acquire(queue)
        order: list[Priority] = []

        async def client(priority: Priority) -> None:
            lease = await acquire(queue, priority)
            order.append(priority)
            lease.close()

        asked = [Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.NORMAL]
        clients = [asyncio.create_task(client(priority)) for priority in asked]
        await asyncio.sleep(0)
        held.close()
        await asyncio.gather(*clients)
        assert order == sorted(asked)

    run(scenario())


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async def scenario() -> None:
        queue = admission(slots=1, max_queue_size=1)
        with queue.enter() as first, queue.enter():
            with pytest.raises(QueueFullError) as refused, queue.enter():
                pass
            assert refused.value.retry_after_s
            await queue.acquire(Priority.NORMAL, time.time() + SOON, first)
            assert queue.waiting == 1
            with pytest.raises(QueueFullError), queue.enter():
                pass
        assert queue.waiting == 0
        assert queue.statistics.queue(0, 1)["total_dropped"] == 2

    run(scenario())


def test_a_deadline_ends_the_wait_and_leaves_no_trace() -> None:
    async def scenario() -> None:
        queue = admission(slots=1)
        held = await acquire(queue)
        with pytest.raises(DeadlineExceededError):
            await acquire(queue, seconds=0.01)
        held.close()
        (await acquire(queue)).close()
        assert queue.in_use == 0

    run(scenario())


def test_a_cancelled_waiter_takes_no_slot() -> None:
    async def scenario() -> None:
        queue = admission(slots=1)
        held = await acquire(queue)
        waiter = asyncio.create_task(acquire(queue))
        await asyncio.sleep(0)
        held.close()  # grants the slot to the waiter, which is cancelled before it can run
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert queue.in_use == 0

    run(scenario())


def test_a_slot_is_held_until_the_last_call_on_it_has_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        slab = Slab.create(tmp_path / "slab", SlabLayout(1, 80, 3000, 1500, 192))
        queue = admission(slots=1, slab=slab)
        lease = await acquire(queue)
        ends = asyncio.Event()
        call = asyncio.create_task(ends.wait())
        lease.attach(call)
        lease.close()
        assert slab.is_cancelled(0, lease.generation)
        assert queue.in_use == 1
        slab.view(0, lease.generation, Area.LOG_MEL, (80, 100))
        ends.set()
        await call
        await asyncio.sleep(0)
        assert queue.in_use == 0
        with pytest.raises(SlotViolationError):
            slab.view(0, lease.generation, Area.LOG_MEL, (80, 100))

    run(scenario())


@settings(max_examples=60, deadline=None)
@given(
    slots=st.integers(1, 4),
    clients=st.lists(
        st.tuples(st.sampled_from(list(Priority)), st.integers(0, 3), st.sampled_from(["stay", "cancel", "late"])),
        max_size=25,
    ),
)
def test_no_slot_is_lost_or_shared_whatever_clients_do(slots: int, clients: list[tuple[Priority, int, str]]) -> None:
    async def scenario() -> None:
        queue = admission(slots=slots)
        holders: set[int] = set()

        async def client(priority: Priority, ticks: int, *, late: bool) -> None:
            lease = await acquire(queue, priority, 0.0 if late else SOON)
            assert lease.slot not in holders
            holders.add(lease.slot)
            try:
                for _ in range(ticks):
                    await asyncio.sleep(0)
            finally:
                holders.remove(lease.slot)
                lease.close()

        tasks = []
        for priority, ticks, fate in clients:
            tasks.append(asyncio.create_task(client(priority, ticks, late=fate == "late")))
            for _ in range(ticks):
                await asyncio.sleep(0)
            if fate == "cancel":
                tasks[-1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(
            result is None or isinstance(result, (asyncio.CancelledError, DeadlineExceededError)) for result in results
        )
        assert queue.in_use == 0

    run(scenario())
