"""Busy or hung: on a clock that stands still unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from deployments.shared.errors import StageHungError
from deployments.shared.watchdog import FIRST_STEP_FACTOR, HUNG_AFTER, LONGEST_LOOK_S, STEPS, ProgressWatch

BUDGET_S = 5.0
SLACK = 4.0


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """A watch whose work takes steps of a tenth of a second, and that is looked at every second."""

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.watch = ProgressWatch(BUDGET_S, SLACK, self.clock)
        self.watch.learn(0.1)

    def stalled_s(self, seconds: float) -> float:
        """After so much time, in which Serve looked every second."""
        for _ in range(round(seconds)):
            self.clock.now += 1
            self.watch.progress()
        return self.watch.progress().stalled_s


def test_without_work_nothing_is_stalled() -> None:
    bench = Bench()
    assert bench.stalled_s(1000) == 0
    with bench.watch.work():
        assert bench.stalled_s(0) == 0, "it has only just begun"
    assert bench.stalled_s(1000) == 0
    bench.watch.check_progress()


def test_work_that_takes_steps_is_never_hung_however_long_it_takes() -> None:
    bench = Bench()
    with bench.watch.work() as work:
        for _ in range(1000):
            assert bench.stalled_s(4) == 4
            bench.watch.check_progress()
            work.progressed()


def test_work_without_a_step_for_too_long_fails_the_check() -> None:
    bench = Bench()
    with bench.watch.work():
        bench.stalled_s(HUNG_AFTER * BUDGET_S - 0.5)
        bench.watch.check_progress()
        bench.stalled_s(1)
        with pytest.raises(StageHungError, match="8 s"):
            bench.watch.check_progress()
    bench.watch.check_progress()


def test_a_thread_that_hangs_is_found_although_its_neighbour_works() -> None:
    bench = Bench()
    with bench.watch.work(), bench.watch.work() as neighbour:
        for _ in range(10):
            bench.stalled_s(1)
            neighbour.progressed()
        assert bench.watch.progress().stalled_s == 10


def test_the_budget_follows_the_slowest_step_of_late() -> None:
    bench = Bench()
    assert bench.watch.progress().budget_s == BUDGET_S
    with bench.watch.work() as work:
        bench.clock.now += 3.5
        work.progressed()
        assert bench.watch.progress().budget_s == SLACK * 3.5
        for _ in range(STEPS):
            bench.clock.now += 0.1
            work.progressed()
        assert bench.watch.progress().budget_s == BUDGET_S, "one slow step is forgotten in the end"


def test_a_stage_of_which_nothing_is_known_gets_more_time() -> None:
    assert ProgressWatch(BUDGET_S, SLACK, Clock()).progress().budget_s == FIRST_STEP_FACTOR * BUDGET_S


def test_a_step_whose_length_is_known_may_take_that_much_longer_and_teaches_nothing() -> None:
    bench = Bench()
    with bench.watch.work() as work:
        work.progressed(allowance_s=30)
        assert bench.stalled_s(30) == 0
        assert bench.stalled_s(2) == 2
        work.progressed()
        assert bench.watch.progress().budget_s == BUDGET_S
        assert bench.stalled_s(2) == 2, "the allowance was for one step"


def test_a_process_that_stood_still_does_not_blame_its_work() -> None:
    bench = Bench()
    with bench.watch.work():
        bench.clock.now += 1000
        assert bench.watch.progress().stalled_s == LONGEST_LOOK_S
        bench.watch.check_progress()
