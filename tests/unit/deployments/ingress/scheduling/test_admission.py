"""Slots are granted by priority, bounded, and never while a stage may still write into them."""

import asyncio
import math
import time
from collections.abc import Coroutine
from contextlib import ExitStack, suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.ingress.request import Priority
from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.scheduling.ageing_queue import AgeingQueue
from deployments.ingress.scheduling.forecast import BESIDE_OTHERS
from deployments.ingress.scheduling.overload import MARGIN, MAX_RETRY_AFTER_S
from deployments.ingress.scheduling.slots import Lease
from deployments.ingress.scheduling.throughput import Throughput
from deployments.ingress.telemetry.statistics import Statistics
from deployments.shared.contracts import Area
from deployments.shared.errors import (
    AmanuensisError,
    DeadlineExceededError,
    DrainingError,
    OverloadedError,
    QueueFullError,
    QueueTimeoutError,
    SlotViolationError,
    TimeoutTooShortError,
)
from deployments.shared.memory.slab import Slab, SlabLayout
from tests.support import virtual_time

SOON = 60.0
AGEING_S = 10.0


def admission(slots: int = 2, max_queue_size: int = 10, slab: Slab | None = None) -> Admission:
    return Admission(slots, max_queue_size, slab, Statistics().queue, ageing_s=AGEING_S)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 10))


async def acquire(queue: Admission, priority: Priority = Priority.NORMAL, seconds: float = SOON) -> Lease:
    return await queue.next_slot(priority, time.monotonic() + seconds)


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
            await queue.first_slot(first)
            assert queue.waiting == 1
            with pytest.raises(QueueFullError), queue.enter():
                pass
        assert queue.waiting == 0
        assert queue.statistics.drops.total() == 2
        assert queue.statistics.drops == {"queue_full": 2}

    run(scenario())


def test_a_deadline_ends_the_wait_and_leaves_no_trace() -> None:
    async def scenario() -> None:
        queue = admission(slots=1)
        held = await acquire(queue)
        with pytest.raises(QueueTimeoutError) as late, queue.enter(deadline=time.monotonic() + 0.01) as entry:
            await queue.first_slot(entry)
        assert (late.value.status, late.value.retry_after_s) == (503, 1)
        with pytest.raises(DeadlineExceededError):
            await acquire(queue, seconds=0.01)  # of a request that has begun
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


def test_low_priority_waits_no_longer_than_its_age_and_those_ahead() -> None:
    async def scenario() -> None:
        queue = admission(slots=1)
        held = await acquire(queue)
        order: list[Priority] = []

        async def client(priority: Priority) -> None:
            lease = await acquire(queue, priority)
            order.append(priority)
            lease.close()

        clients = [asyncio.create_task(client(Priority.LOW))]
        for _ in range(3):
            await asyncio.sleep(AGEING_S)
            clients.append(asyncio.create_task(client(Priority.HIGH)))
        await asyncio.sleep(0)
        held.close()
        await asyncio.gather(*clients)
        assert order == [Priority.HIGH, Priority.LOW, Priority.HIGH, Priority.HIGH]

    virtual_time.run(scenario())


@settings(max_examples=40, deadline=None)
@given(
    arrivals=st.lists(st.tuples(st.floats(0, 60), st.sampled_from(list(Priority))), min_size=1, max_size=120),
    rate=st.sampled_from([0.5, 2.0, 10.0]),
)
def test_nobody_starves_while_slots_are_being_freed(arrivals: list[tuple[float, Priority]], rate: float) -> None:
    async def scenario() -> None:
        queue = admission(slots=1)
        inside = longest_line = 0

        async def client(at: float, priority: Priority) -> tuple[Priority, float]:
            nonlocal inside, longest_line
            await asyncio.sleep(at)
            inside += 1
            longest_line = max(longest_line, inside)
            began = time.monotonic()
            lease = await acquire(queue, priority, 10_000)
            waited = time.monotonic() - began
            await asyncio.sleep(1 / rate)
            lease.close()
            inside -= 1
            return priority, waited

        for priority, waited in await asyncio.gather(*(client(*arrival) for arrival in arrivals)):
            assert waited <= priority * AGEING_S + longest_line / rate + 1e-6

    virtual_time.run(scenario())


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.integers(0, 2)),
            st.tuples(st.just("wait"), st.integers(0, 15)),
            st.tuples(st.sampled_from(["pop", "remove"]), st.integers(0, 30)),
        ),
        max_size=60,
    )
)
def test_the_queue_is_ordered_by_arrival_plus_a_handicap_for_each_priority(steps: list[tuple[str, int]]) -> None:
    """The plain model of ageing: who has waited ``ageing_s`` longer makes up for one priority."""
    queue: AgeingQueue[int] = AgeingQueue(3, AGEING_S)
    model: list[tuple[float, int]] = []
    now, items = 0.0, 0

    def level_of(item: tuple[float, int]) -> int:
        return max(0, math.ceil((item[0] - now) / AGEING_S))

    for step, number in steps:
        if step == "wait":
            now += number
        elif step == "push":
            now += 2**-10  # no ties, and exact
            model.append((now + number * AGEING_S, items))
            queue.push(items, number, now)
            items += 1
        elif step == "remove":
            queue.remove(number)
            model = [item for item in model if item[1] != number]
        elif model:
            first = min(model, key=lambda item: (level_of(item), item))
            model.remove(first)
            assert queue.pop(now) == first[1]
        assert len(queue) == len(model)
        assert queue.first_level(now) == min(map(level_of, model), default=3)
        levels = [[item for item in model if level_of(item) == level] for level in range(3)]
        for level, kept in product(range(3), range(3)):
            assert queue.ahead_of(level, now) == sum(map(len, levels[: level + 1]))
            last = next((max(lower)[1] for lower in reversed(levels[level + 1 :]) if len(lower) > kept), None)
            assert queue.last_below(level, now, kept) == last
            assert queue.lacking_below(level, now, kept) == sum(max(0, kept - len(it)) for it in levels[level + 1 :])


async def work(queue: Admission, seconds: float, count: int) -> None:
    """``count`` requests, each of which holds its slot for ``seconds``."""

    async def one() -> None:
        with queue.enter() as entry:
            lease = await queue.first_slot(entry)
        await asyncio.sleep(seconds)
        lease.close()

    await asyncio.gather(*(one() for _ in range(count)))


def test_who_cannot_make_the_deadline_is_refused_at_once_and_told_when_to_come_back() -> None:
    async def scenario() -> None:
        queue = admission(slots=2, max_queue_size=100)
        await work(queue, 1.0, 20)  # two slots, a second each: one slot every 0.5 s
        busy = asyncio.create_task(work(queue, 1.0, 22))
        await asyncio.sleep(0.001)
        began = time.monotonic()  # 20 wait: a slot after 10.5 s, an answer a second later

        async def ask(seconds: float, priority: Priority = Priority.NORMAL) -> None:
            deadline = time.monotonic() + seconds
            with queue.enter(priority, deadline) as entry:
                (await queue.first_slot(entry)).close()

        with pytest.raises(OverloadedError) as refused:
            await ask(4)
        assert refused.value.retry_after_s == pytest.approx(MARGIN * 11.5 - 4, abs=2)
        with pytest.raises(OverloadedError):
            await ask(4, Priority.LOW)
        assert time.monotonic() == began
        await ask(4, Priority.HIGH)
        await ask(15)
        await busy
        assert queue.statistics.drops.total() == 2
        assert queue.statistics.drops == {"deadline": 2}
        assert queue.waiting == queue.in_use == 0

    virtual_time.run(scenario())


def test_the_priority_of_the_form_counts_once_it_is_known() -> None:
    async def scenario() -> None:
        queue = admission(slots=1, max_queue_size=100)
        await work(queue, 1.0, 10)
        busy = asyncio.create_task(work(queue, 1.0, 11))
        await asyncio.sleep(0.001)
        deadline = time.monotonic() + 5
        with queue.enter(Priority.HIGH, deadline) as entry:
            queue.move(entry, Priority.LOW)
            with pytest.raises(OverloadedError):
                await queue.first_slot(entry)
        await busy
        assert queue.waiting == queue.in_use == 0

    virtual_time.run(scenario())


def test_nothing_is_refused_before_the_pace_is_known_or_while_a_slot_is_free() -> None:
    async def scenario() -> None:
        queue = admission(slots=2, max_queue_size=100)
        deadline = time.monotonic() + 0.001
        busy = asyncio.create_task(work(queue, 100.0, 4))
        await asyncio.sleep(0.001)
        with queue.enter(deadline=deadline) as entry, pytest.raises(QueueTimeoutError):
            await queue.first_slot(entry)
        await busy  # the pace is known to be terrible now
        with queue.enter(deadline=time.monotonic() + 0.001) as entry:
            (await queue.first_slot(entry)).close()

    virtual_time.run(scenario())


def test_uploads_that_came_before_are_ahead() -> None:
    async def scenario() -> None:
        queue = admission(slots=1, max_queue_size=100)
        await work(queue, 1.0, 10)
        held = await acquire(queue)

        async def upload() -> None:
            with queue.enter():
                await asyncio.sleep(1)

        uploads = [asyncio.create_task(upload()) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError), queue.enter(deadline=time.monotonic() + 5):
            pass
        with queue.enter(Priority.HIGH, time.monotonic() + 5):
            pass
        await asyncio.gather(*uploads)
        with queue.enter(deadline=time.monotonic() + 5):
            pass
        held.close()

    virtual_time.run(scenario())


def test_who_would_get_a_slot_too_late_to_use_it_gives_up_before_the_deadline() -> None:
    async def scenario() -> None:
        queue = admission(slots=1, max_queue_size=100)
        await work(queue, 2.0, 10)
        held = await acquire(queue)
        began = time.monotonic()
        with queue.enter(deadline=time.monotonic() + 5) as entry, pytest.raises(QueueTimeoutError) as late:
            await queue.first_slot(entry)
        assert time.monotonic() - began == pytest.approx(5 - 2)
        assert late.value.retry_after_s == 1
        held.close()

    virtual_time.run(scenario())


def test_a_window_of_a_request_that_has_begun_is_never_refused_on_an_estimate() -> None:
    async def scenario() -> None:
        queue = admission(slots=1)
        await work(queue, 10.0, 5)
        held = await acquire(queue)
        asyncio.get_running_loop().call_later(1, held.close)
        (await acquire(queue, seconds=2)).close()

    virtual_time.run(scenario())


def test_a_cold_start_lets_in_no_more_than_the_measured_pace_can_answer() -> None:
    async def scenario() -> None:
        queue = admission(slots=16, max_queue_size=256)
        queue.foresee(1.0)
        retry_after_s = []
        with ExitStack() as places:
            for _ in range(256):
                try:
                    places.enter_context(queue.enter(deadline=time.monotonic() + SOON))
                except OverloadedError as refused:
                    retry_after_s.append(refused.retry_after_s or 0)
            assert 16 < queue.waiting < SOON / BESIDE_OTHERS
        assert len(retry_after_s) > 190, "also while no upload is complete and every slot is free"
        assert retry_after_s == sorted(retry_after_s), "each is told a time behind those who were told one before"
        assert retry_after_s[-1] == MAX_RETRY_AFTER_S > retry_after_s[100] > retry_after_s[50]

    virtual_time.run(scenario())


def test_a_slow_service_grants_no_more_slots_than_ten_seconds_of_work() -> None:
    async def scenario() -> None:
        queue = admission(slots=16, max_queue_size=256)
        queue.foresee(10 / 4 / BESIDE_OTHERS)
        leases = [await acquire(queue) for _ in range(4)]
        fifth = asyncio.create_task(acquire(queue))
        await asyncio.sleep(1)
        assert queue.in_use == 4
        leases[0].close()
        (await fifth).close()
        for lease in leases[1:]:
            lease.close()
        assert queue.in_use == 0

    virtual_time.run(scenario())


def test_windows_in_turn_go_before_requests_that_have_not_begun() -> None:
    async def scenario() -> None:
        queue = admission(slots=1)
        held = await acquire(queue)
        order: list[str] = []

        async def window(name: str, priority: Priority, *, in_turn: bool) -> None:
            lease = await queue.next_slot(priority, time.monotonic() + SOON, in_turn=in_turn)
            order.append(name)
            lease.close()

        asked = [
            window("new", Priority.NORMAL, in_turn=False),
            window("low in turn", Priority.LOW, in_turn=True),
            window("in turn", Priority.NORMAL, in_turn=True),
            window("high", Priority.HIGH, in_turn=False),
        ]
        tasks = [asyncio.create_task(one) for one in asked]
        await asyncio.sleep(0)
        held.close()
        await asyncio.gather(*tasks)
        assert order == ["high", "in turn", "new", "low in turn"]

    virtual_time.run(scenario())


def test_a_file_that_this_machine_cannot_do_in_its_time_is_rejected_with_what_decides() -> None:
    async def scenario() -> None:
        queue = admission(slots=2)
        queue.foresee(1.0)
        with pytest.raises(
            TimeoutTooShortError, match=r"130 windows .* 60 s are left.*max_request_timeout_s"
        ) as rejected:
            queue.begin(Priority.NORMAL, windows=130, turn=4, deadline=time.monotonic() + 60)
        assert (rejected.value.status, rejected.value.param) == (400, "x-timeout-seconds")
        assert "timeout_per_audio_s" in rejected.value.message
        queue.end(queue.begin(Priority.NORMAL, windows=130, turn=4, deadline=time.monotonic() + 600))

    virtual_time.run(scenario())


def test_a_file_is_refused_where_the_rests_of_others_leave_it_no_time() -> None:
    async def scenario() -> None:
        queue = admission(slots=2)
        queue.foresee(1.0)
        rests = [queue.begin(Priority.NORMAL, windows=130, turn=4, deadline=time.monotonic() + 3600) for _ in range(5)]
        with pytest.raises(OverloadedError, match="max_request_timeout_s") as refused:
            queue.begin(Priority.NORMAL, windows=130, turn=4, deadline=time.monotonic() + 600)
        assert refused.value.retry_after_s
        queue.end(queue.begin(Priority.HIGH, windows=130, turn=4, deadline=time.monotonic() + 600))
        queue.end(queue.begin(Priority.NORMAL, windows=20, turn=4, deadline=time.monotonic() + 600))
        for rest in rests:
            queue.end(rest)
        queue.end(queue.begin(Priority.NORMAL, windows=130, turn=4, deadline=time.monotonic() + 600))

    virtual_time.run(scenario())


def test_a_higher_priority_displaces_the_youngest_of_the_lowest() -> None:
    async def scenario() -> None:
        queue = admission(slots=1, max_queue_size=3)
        held = await acquire(queue)
        outcome: dict[str, str] = {}
        retry_after_s: list[float] = []

        async def client(name: str, priority: Priority, upload_s: float = 0) -> None:
            try:
                with queue.enter(priority) as entry:
                    await asyncio.sleep(upload_s)
                    lease = await queue.first_slot(entry)
            except AmanuensisError as error:
                outcome[name] = error.code
                retry_after_s.append(error.retry_after_s or 0)
            else:
                outcome[name] = "served"
                lease.close()

        clients = []
        for name, priority, upload_s in [
            ("normal", Priority.NORMAL, 0),
            ("older low", Priority.LOW, 0),
            ("younger low, uploading", Priority.LOW, 5),
            ("low, too many", Priority.LOW, 0),
            ("first high", Priority.HIGH, 0),
            ("second high", Priority.HIGH, 0),
            ("third high", Priority.HIGH, 0),
            ("fourth high", Priority.HIGH, 0),
        ]:
            clients.append(asyncio.create_task(client(name, priority, upload_s)))
            await asyncio.sleep(0.01)
        assert queue.waiting == 3
        held.close()
        await asyncio.gather(*clients)
        assert outcome == {
            "low, too many": "queue_full",
            "younger low, uploading": "overloaded",
            "older low": "overloaded",
            "normal": "overloaded",
            "first high": "served",
            "second high": "served",
            "third high": "served",
            "fourth high": "queue_full",
        }
        assert all(1 <= seconds <= 60 for seconds in retry_after_s)
        assert queue.waiting == queue.in_use == 0
        assert queue.statistics.drops == {"queue_full": 2, "displaced": 3}

    virtual_time.run(scenario())


def test_higher_priorities_leave_an_eighth_of_the_queue_to_each_lower_one() -> None:
    async def scenario() -> None:
        queue = admission(slots=1, max_queue_size=16)
        held = await acquire(queue)

        def fill(priority: Priority) -> int:
            before = queue.waiting
            with suppress(QueueFullError):
                while True:
                    places.enter_context(queue.enter(priority))
            return queue.waiting - before

        with ExitStack() as places:
            assert fill(Priority.HIGH) == 12
            assert fill(Priority.NORMAL) == 2
            assert fill(Priority.LOW) == 2
            assert fill(Priority.HIGH) == 0
        held.close()
        assert queue.statistics.drops == {"queue_full": 4}

    virtual_time.run(scenario())


def test_who_was_granted_a_slot_is_not_displaced_and_a_real_cancellation_stays_one() -> None:
    async def scenario() -> None:
        queue = admission(slots=1, max_queue_size=1)
        held = await acquire(queue)
        leases: list[Lease] = []

        async def client(priority: Priority) -> None:
            with queue.enter(priority) as entry:
                leases.append(await queue.first_slot(entry))

        low = asyncio.create_task(client(Priority.LOW))
        await asyncio.sleep(0)
        held.close()  # grants; the task has not run yet
        high = asyncio.create_task(client(Priority.HIGH))
        await asyncio.sleep(0)
        await low
        assert len(leases) == 1

        high.cancel()
        with pytest.raises(asyncio.CancelledError):
            await high
        low = asyncio.create_task(client(Priority.LOW))
        await asyncio.sleep(0)
        high = asyncio.create_task(client(Priority.HIGH))
        await asyncio.sleep(0)
        low.cancel()  # by its client too, in the moment of being displaced
        with pytest.raises(asyncio.CancelledError):
            await low
        leases[0].close()
        await high
        leases[1].close()
        assert queue.waiting == queue.in_use == 0

    virtual_time.run(scenario())


def test_a_closed_queue_lets_nobody_in_but_finishes_what_is_inside() -> None:
    async def scenario() -> None:
        queue = admission(slots=1)
        busy = asyncio.create_task(work(queue, 10.0, 3))
        await asyncio.sleep(0.001)
        queue.close()
        with pytest.raises(DrainingError) as refused, queue.enter():
            pass
        assert refused.value.retry_after_s
        drained = asyncio.create_task(queue.drained())
        await asyncio.sleep(29.9)
        assert not drained.done()
        await busy
        await drained
        assert queue.waiting == queue.in_use == 0

    virtual_time.run(scenario())


class TestThroughput:
    def test_bursts_are_evened_out(self) -> None:
        pace = Throughput(4)
        for second in range(1, 20):
            pace.all_in_use(second - 1)
            for _ in range(4):  # a batch of four each second
                pace.freed(second)
                pace.all_in_use(second)
        assert pace.seconds_per_slot(19) == pytest.approx(0.25, rel=0.2)

    def test_idle_time_is_no_evidence(self) -> None:
        pace = Throughput(1)
        for hour in range(1, 20):
            pace.all_in_use(3600.0 * hour)
            pace.freed(3600.0 * hour + 1)
        assert pace.seconds_per_slot(10**6) == pytest.approx(1)

    def test_what_is_foreseen_counts_until_every_slot_had_its_turn(self) -> None:
        pace = Throughput(4)
        assert pace.seconds_per_slot(0) is None
        pace.foreseen_s = 1.0
        assert pace.seconds_per_slot(0) == 1.0
        seen = []
        for number in range(4):
            pace.all_in_use(number / 10)
            pace.freed((number + 1) / 10)
            seen.append(pace.seconds_per_slot(1) or 0.0)
        assert seen == sorted(seen, reverse=True)
        assert seen[1] == pytest.approx((2 * 1.0 + 2 * 0.1) / 4, rel=0.05)
        assert seen[3] == pytest.approx(0.1)

    def test_a_service_that_hangs_is_noticed_and_forgiven(self) -> None:
        pace = Throughput(1)
        for second in range(20):
            pace.all_in_use(second)
            pace.freed(second + 1)
        pace.all_in_use(20)
        assert pace.seconds_per_slot(20.5) == pytest.approx(1)
        assert (pace.seconds_per_slot(1000) or 0) > 10
        pace.freed(1000)
        for second in range(1000, 1060):
            pace.all_in_use(second)
            pace.freed(second + 1)
        assert pace.seconds_per_slot(1060) == pytest.approx(1, rel=0.1)
