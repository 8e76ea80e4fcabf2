"""Retries, budgets and the breaker around the calls of one stage."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from contextlib import closing
from typing import Any

import pytest

from deployments.ingress.request import Priority
from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.scheduling.breaker import FAILURES
from deployments.ingress.scheduling.retries import FULL, MAX_ATTEMPTS, RetryBudget
from deployments.ingress.scheduling.slots import Lease
from deployments.ingress.scheduling.stage_calls import (
    ANSWER_S,
    GRACE_S,
    LOOK_S,
    PATIENCE_S,
    REPLACED_S,
    Hold,
    StageCalls,
)
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.telemetry.statistics import Statistics
from deployments.shared.contracts import Area, EncodedWindow, SlotArray, StageProgress, StageTiming, Ticket
from deployments.shared.errors import (
    AmanuensisError,
    CircuitOpenError,
    DeadlineExceededError,
    DeviceUnreliableError,
    InvalidAudioError,
    StageLostError,
    StageTimeoutError,
)
from tests.support import virtual_time

ENCODED = EncodedWindow(
    SlotArray(0, 1, Area.ENCODER_STATES, (50, 4)), StageTiming(0.0, 0.001, 1, "replica", "cpu:test")
)

CALLBACKS = 5
"""Turns of the event loop between the arrival of a result and the end of its call; real ones take a few."""


def hold(lease: Lease, deadline: float) -> Hold:
    ticket = Ticket("r", lease.slot, lease.generation, deadline, None)
    return Hold(lease, ticket, deadline, RequestRecord("r", "ann"), window=0)


class Bench:
    """The encoder's calls, made with a lease of their own each."""

    def __init__(self, budget_s: float = 5.0) -> None:
        statistics = Statistics()
        self.admission = Admission(8, 8, None, statistics.queue, ageing_s=10)
        self.retries = RetryBudget()
        self.calls = StageCalls(statistics.encoder, budget_s, self.retries, self.progress)
        self.made = 0
        self.answer = StageProgress(stalled_s=math.inf, budget_s=0.0)

    async def progress(self) -> StageProgress:
        return self.answer

    async def encode(
        self, *outcomes: AmanuensisError | float, deadline_s: float = 60.0, patient: bool = False
    ) -> EncodedWindow:
        """Each call raises, or takes so many seconds, as ``outcomes`` say; then it succeeds at once."""
        remaining = iter(outcomes)

        async def call(_: Ticket) -> EncodedWindow:
            self.made += 1
            outcome = next(remaining, 0.0)
            if isinstance(outcome, AmanuensisError):
                raise outcome
            await asyncio.sleep(outcome)
            for __ in range(CALLBACKS):
                await asyncio.sleep(0)
            return ENCODED

        deadline = time.monotonic() + deadline_s
        lease = await self.admission.next_slot(Priority.NORMAL, deadline)
        try:
            return await (self.calls if patient else self.calls.call_now)(hold(lease, deadline), call)
        finally:
            lease.close()


@pytest.mark.parametrize("error", [StageLostError("gone"), DeviceUnreliableError("hung")])
def test_a_call_whose_replica_or_device_failed_is_made_again(error: AmanuensisError) -> None:
    bench = Bench()
    assert asyncio.run(bench.encode(error, error)) == ENCODED
    assert bench.made == 3
    assert bench.calls.statistics.retries == 2
    assert bench.calls.statistics.errors == 2
    assert bench.admission.in_use == 0


@pytest.mark.parametrize("error", [InvalidAudioError("bad"), StageTimeoutError("slow")])
def test_bad_input_and_time_outs_never_are(error: AmanuensisError) -> None:
    bench = Bench()
    with pytest.raises(type(error)):
        asyncio.run(bench.encode(error))
    assert bench.made == 1


def test_attempts_are_few() -> None:
    bench = Bench()
    with pytest.raises(StageLostError):
        asyncio.run(bench.encode(*[StageLostError("gone")] * 10))
    assert bench.made == MAX_ATTEMPTS


def test_when_everything_fails_retries_stop() -> None:
    budget = RetryBudget()
    assert sum(budget.spend() for _ in range(1000)) == FULL
    for _ in range(5):
        budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]


def test_the_breaker_counts_requests_that_failed_in_the_end_and_then_answers_at_once() -> None:
    bench = Bench()

    async def scenario() -> None:
        for _ in range(FAILURES):
            with pytest.raises(StageLostError):
                await bench.encode(*[StageLostError("gone")] * MAX_ATTEMPTS)
        made = bench.made
        with pytest.raises(CircuitOpenError):
            await bench.encode()
        assert bench.made == made

    asyncio.run(scenario())
    assert bench.calls.breaker.state == "open"


def test_a_lost_replica_s_successor_is_waited_for_beyond_the_budget() -> None:
    bench = Bench(budget_s=0.05)
    assert asyncio.run(bench.encode(StageLostError("gone"), 0.2)) == ENCODED
    with pytest.raises(StageTimeoutError):
        asyncio.run(bench.encode(10.0, deadline_s=0.3))


def test_so_does_a_call_that_was_under_way_when_another_one_was_lost() -> None:
    bench = Bench(budget_s=0.1)

    async def scenario() -> None:
        waits = asyncio.create_task(bench.encode(0.3))
        await asyncio.sleep(0.05)
        is_lost = asyncio.create_task(bench.encode(StageLostError("gone"), 0.3))
        assert list(await asyncio.gather(waits, is_lost)) == [ENCODED, ENCODED]

    asyncio.run(scenario())


def test_an_answer_from_before_the_loss_does_not_end_the_wait_for_the_successor() -> None:
    async def scenario() -> None:
        bench = Bench(budget_s=0.1)
        answered = asyncio.create_task(bench.encode(0.08))
        await asyncio.sleep(0.01)
        assert await bench.encode(StageLostError("gone"), 0.4) == ENCODED
        assert await answered == ENCODED

    asyncio.run(scenario())


def test_an_ingress_that_stood_still_does_not_blame_the_stage() -> None:
    bench = Bench(budget_s=0.1)

    async def scenario() -> EncodedWindow:
        under_way = asyncio.create_task(bench.encode(0.05))
        await asyncio.sleep(0.01)
        time.sleep(0.3)  # noqa: ASYNC251
        return await under_way

    assert asyncio.run(scenario()) == ENCODED


class Dead(Bench):
    """Its replica is dead, which Serve notices late and mends later: calls go to it, and are lost at once."""

    back_s = 20.0

    async def progress(self) -> StageProgress:
        if time.monotonic() < self.back_at:
            raise StageLostError("dead")
        return self.answer

    async def request(self, deadline_s: float) -> EncodedWindow:
        self.back_at = time.monotonic() + self.back_s

        async def call(_: Ticket) -> EncodedWindow:
            self.made += 1
            if time.monotonic() < self.back_at:
                raise StageLostError("dead")
            return ENCODED

        deadline = time.monotonic() + deadline_s
        with closing(await self.admission.next_slot(Priority.NORMAL, deadline)) as lease:
            return await self.calls.call_now(hold(lease, deadline), call)


def test_a_loss_that_serve_notices_late_does_not_use_up_the_attempts() -> None:
    async def scenario() -> None:
        bench = Dead()
        assert await bench.request(deadline_s=60) == ENCODED
        assert bench.made == 2

    virtual_time.run(scenario())


def test_and_one_that_it_never_notices_ends_with_the_deadline() -> None:
    async def scenario() -> None:
        bench, began = Dead(), time.monotonic()
        assert await outcome(bench.request(deadline_s=5)) == "StageLostError"
        assert time.monotonic() - began == pytest.approx(5, abs=0.5)
        assert bench.made <= MAX_ATTEMPTS

    virtual_time.run(scenario())


def test_but_not_beyond_the_deadline() -> None:
    bench = Bench()
    with pytest.raises(DeadlineExceededError):
        asyncio.run(bench.encode(StageLostError("gone"), 5.0, deadline_s=0.2))


HANGS = 1000.0
BUSY = StageProgress(stalled_s=1.0, budget_s=20.0)


async def outcome(call: Coroutine[Any, Any, EncodedWindow]) -> str:
    try:
        await call
    except AmanuensisError as error:
        return type(error).__name__
    return "answered"


def test_a_call_waits_longer_than_the_budget_while_others_are_finished() -> None:
    async def scenario() -> None:
        bench = Bench(budget_s=5)
        results = await asyncio.gather(*(outcome(bench.encode(3.5 * place)) for place in range(1, 9)))
        assert results == ["answered"] * 8
        assert bench.calls.breaker.state == "closed"

    virtual_time.run(scenario())


def test_an_error_of_the_request_shows_that_the_stage_gets_on() -> None:
    async def scenario() -> None:
        bench = Bench(budget_s=5)

        async def bad_audio() -> None:
            for _ in range(5):
                await asyncio.sleep(4)
                with pytest.raises(InvalidAudioError):
                    await bench.encode(InvalidAudioError("bad"))

        _, result = await asyncio.gather(bad_audio(), outcome(bench.encode(21.0)))
        assert result == "answered"

    virtual_time.run(scenario())


def test_a_stage_that_finishes_nothing_but_gets_on_is_waited_for_until_the_deadline() -> None:
    async def scenario() -> None:
        bench = Bench(budget_s=5)
        bench.answer = BUSY
        assert await bench.encode(50.0) == ENCODED
        with pytest.raises(DeadlineExceededError) as raised:
            await bench.encode(HANGS)
        assert type(raised.value) is DeadlineExceededError
        assert not bench.calls.hung

    virtual_time.run(scenario())


def test_deadlines_that_pass_while_the_stage_gets_on_leave_the_breaker_closed() -> None:
    async def scenario() -> None:
        bench = Bench(budget_s=5)
        bench.answer = BUSY
        results = await asyncio.gather(*(outcome(bench.encode(HANGS, deadline_s=20)) for _ in range(8)))
        assert results == ["DeadlineExceededError"] * 8
        assert bench.calls.breaker.state == "closed"

    virtual_time.run(scenario())


@pytest.mark.parametrize("answers", [True, False])
def test_a_stage_that_hangs_and_is_not_replaced_ends_all_its_calls_and_opens_the_breaker(answers: bool) -> None:
    async def scenario() -> None:
        bench = Bench(budget_s=5)
        if not answers:
            bench.calls._progress = asyncio.Event().wait  # type: ignore[assignment]
        began = time.monotonic()
        results = await asyncio.gather(*(outcome(bench.encode(HANGS, deadline_s=600)) for _ in range(FAILURES)))
        assert results == ["StageTimeoutError"] * FAILURES
        noticed = 5 + (0 if answers else ANSWER_S)
        assert time.monotonic() - began == pytest.approx(noticed + REPLACED_S + GRACE_S, abs=0.1)
        assert bench.calls.breaker.state == "open"
        assert bench.calls.hung

    virtual_time.run(scenario())


def test_a_stage_that_seemed_to_hang_and_answers_has_lost_nothing() -> None:
    async def scenario() -> None:
        bench = Bench(budget_s=5)
        slow = asyncio.create_task(outcome(bench.encode(30.0)))
        await asyncio.sleep(10)
        assert bench.calls.hung
        assert await slow == "answered"
        assert not bench.calls.hung

    virtual_time.run(scenario())


def test_a_request_that_has_begun_is_not_sent_to_a_stage_that_hangs() -> None:
    async def scenario() -> None:
        bench = Bench(budget_s=5)
        hangs = asyncio.create_task(outcome(bench.encode(30.0)))
        await asyncio.sleep(10)
        waits = asyncio.create_task(outcome(bench.encode(patient=True)))
        await asyncio.sleep(10)
        assert bench.made == 1
        assert [await hangs, await waits] == ["answered"] * 2

    virtual_time.run(scenario())


def test_a_stage_that_says_that_it_gets_on_again_is_believed_although_a_call_is_gone() -> None:
    async def scenario() -> None:
        bench = Bench(budget_s=5)
        assert await outcome(bench.encode(HANGS, deadline_s=600)) == "StageTimeoutError"
        bench.answer = BUSY
        await asyncio.sleep(2 * LOOK_S)
        assert await outcome(bench.encode()) == "answered"

    virtual_time.run(scenario())


def test_a_replica_that_hangs_and_is_replaced_loses_no_call() -> None:
    async def scenario() -> None:
        bench = Bench(budget_s=5)
        killed = asyncio.Event()

        async def stuck_once(_: Ticket) -> EncodedWindow:
            bench.made += 1
            if not killed.is_set():
                await killed.wait()
                raise StageLostError("killed")
            await asyncio.sleep(20)  # the successor starts
            return ENCODED

        async def request() -> EncodedWindow:
            deadline = time.monotonic() + 60
            lease = await bench.admission.next_slot(Priority.NORMAL, deadline)
            try:
                return await bench.calls.call_now(hold(lease, deadline), stuck_once)
            finally:
                lease.close()

        under_way = [asyncio.create_task(request()) for _ in range(3)]
        await asyncio.sleep(10)
        assert bench.calls.hung
        killed.set()
        assert await asyncio.gather(*under_way) == [ENCODED] * 3
        assert (bench.made, bench.admission.in_use) == (6, 0)
        assert bench.calls.breaker.state == "closed"

    virtual_time.run(scenario())


def test_a_request_that_has_begun_waits_for_a_stage_that_is_left_alone_and_a_new_one_does_not() -> None:
    async def scenario() -> None:
        bench = Bench()
        for _ in range(FAILURES):
            bench.calls.breaker.failed(StageLostError("gone"))
        assert await outcome(bench.encode()) == "CircuitOpenError"
        waiting = [asyncio.create_task(outcome(bench.encode(patient=True))) for _ in range(3)]
        assert await asyncio.gather(*waiting) == ["answered"] * 3
        assert bench.calls.breaker.state == "closed"

    virtual_time.run(scenario())


def test_but_not_for_ever() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.calls.breaker.failed(StageLostError("gone"))
        bench.calls.breaker._open_until = time.monotonic() + 1000
        began = time.monotonic()
        assert await outcome(bench.encode(patient=True)) == "CircuitOpenError"
        assert time.monotonic() - began == pytest.approx(PATIENCE_S, abs=0.2)
        assert await outcome(bench.encode(patient=True, deadline_s=3)) == "CircuitOpenError"
        assert time.monotonic() - began == pytest.approx(PATIENCE_S + 3, abs=0.4)

    virtual_time.run(scenario())
