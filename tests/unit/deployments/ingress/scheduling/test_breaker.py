"""The circuit breaker on a clock that stands still unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from deployments.ingress.scheduling.breaker import FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S, CircuitBreaker
from deployments.shared.errors import (
    AmanuensisError,
    CircuitOpenError,
    DeadlineExceededError,
    DeviceBrokenError,
    InvalidAudioError,
    StageLostError,
    StageTimeoutError,
)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def call(breaker: CircuitBreaker, error: BaseException | None = None) -> None:
    breaker.begin()
    if error is None:
        breaker.succeeded()
    else:
        breaker.failed(error)


def opened(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker("encoder", clock)
    for _ in range(FAILURES):
        call(breaker, DeviceBrokenError("it is broken"))
    return breaker


@pytest.mark.parametrize("error", [StageLostError("gone"), DeviceBrokenError("broken"), StageTimeoutError("slow")])
def test_failures_of_the_stage_in_a_row_open_it(error: AmanuensisError) -> None:
    breaker = CircuitBreaker("encoder", Clock())
    for _ in range(FAILURES):
        assert str(breaker.state) == "closed"
        call(breaker, error)
    assert str(breaker.state) == "open"
    assert breaker.reason == error.message
    with pytest.raises(CircuitOpenError) as refused:
        breaker.begin()
    assert refused.value.retry_after_s == pytest.approx(FIRST_PAUSE_S)


@pytest.mark.parametrize("error", [InvalidAudioError("bad"), DeadlineExceededError("late"), KeyError("?")])
def test_failures_of_the_request_do_not(error: Exception) -> None:
    breaker = CircuitBreaker("encoder", Clock())
    for _ in range(10 * FAILURES):
        call(breaker, error)
    assert str(breaker.state) == "closed"


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = CircuitBreaker("encoder", Clock())
    for _ in range(10):
        for _ in range(FAILURES - 1):
            call(breaker, StageLostError("gone"))
        call(breaker)
    assert str(breaker.state) == "closed"


def test_after_a_pause_one_call_is_the_trial_and_its_success_closes() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += FIRST_PAUSE_S
    assert str(breaker.state) == "half_open"
    breaker.begin()
    with pytest.raises(CircuitOpenError):
        breaker.begin()
    breaker.succeeded()
    assert str(breaker.state) == "closed"
    assert breaker.reason is None
    call(breaker)


def test_each_failed_trial_doubles_the_pause_up_to_a_limit() -> None:
    clock = Clock()
    breaker = opened(clock)
    pause_s = FIRST_PAUSE_S
    for _ in range(8):
        clock.now += pause_s
        call(breaker, StageLostError("still gone"))
        pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
        clock.now += pause_s - 0.01
        assert str(breaker.state) == "open"
        clock.now += 0.01
        assert str(breaker.state) == "half_open"
    assert breaker.opened == 1, "it was never closed in between"


def test_a_trial_that_its_client_gave_up_lets_another_one_try() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += FIRST_PAUSE_S
    call(breaker, KeyboardInterrupt())
    call(breaker)
    assert str(breaker.state) == "closed"
