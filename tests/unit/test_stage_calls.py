"""Retries, budgets and the breaker around the calls of one stage."""

from __future__ import annotations

import asyncio
import time

import pytest

from deployments.contracts import Area, EncodedWindow, SlotArray, StageTiming
from deployments.errors import (
    AmanuensisError,
    CircuitOpenError,
    DeadlineExceededError,
    DeviceUnreliableError,
    InvalidAudioError,
    StageLostError,
    StageTimeoutError,
)
from deployments.scheduling.admission import Admission, Priority
from deployments.scheduling.breaker import FAILURES
from deployments.scheduling.retries import FULL, MAX_ATTEMPTS, RetryBudget
from deployments.scheduling.stage_calls import StageCalls
from deployments.statistics import Statistics

ENCODED = EncodedWindow(
    SlotArray(0, 1, Area.ENCODER_STATES, (50, 4)), StageTiming(0.0, 0.001, 1, "replica", "cpu:test")
)

CALLBACKS = 5
"""Turns of the event loop between the arrival of a result and the end of its call; real ones take a few."""


class Bench:
    """The encoder's calls, made with a lease of their own each."""

    def __init__(self, budget_s: float = 5.0) -> None:
        statistics = Statistics()
        self.admission = Admission(8, 8, None, statistics.queue, ageing_s=10)
        self.retries = RetryBudget()
        self.calls = StageCalls(statistics.encoder, budget_s, self.retries)
        self.made = 0

    async def encode(self, *outcomes: AmanuensisError | float, deadline_s: float = 60.0) -> EncodedWindow:
        """Each call raises, or takes so many seconds, as ``outcomes`` say; then it succeeds at once."""
        remaining = iter(outcomes)

        async def call() -> EncodedWindow:
            self.made += 1
            outcome = next(remaining, 0.0)
            if isinstance(outcome, AmanuensisError):
                raise outcome
            await asyncio.sleep(outcome)
            for _ in range(CALLBACKS):
                await asyncio.sleep(0)
            return ENCODED

        deadline = time.time() + deadline_s
        lease = await self.admission.acquire(Priority.NORMAL, deadline)
        try:
            return await self.calls(lease, deadline, call)
        finally:
            lease.close()

    @property
    def statistics(self) -> dict[str, float | int | str]:
        return self.calls.statistics.as_json(1)


@pytest.mark.parametrize("error", [StageLostError("gone"), DeviceUnreliableError("hung")])
def test_a_call_whose_replica_or_device_failed_is_made_again(error: AmanuensisError) -> None:
    bench = Bench()
    assert asyncio.run(bench.encode(error, error)) == ENCODED
    assert bench.made == 3
    assert bench.statistics["total_retries"] == 2
    assert bench.statistics["total_errors"] == 2
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
        asyncio.run(bench.encode(0.2))


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


def test_but_not_beyond_the_deadline() -> None:
    bench = Bench()
    with pytest.raises(DeadlineExceededError):
        asyncio.run(bench.encode(StageLostError("gone"), 5.0, deadline_s=0.2))
