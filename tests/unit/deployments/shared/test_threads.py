"""Threads are watched from the moment when they are given work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from deployments.shared.errors import StageHungError
from deployments.shared.threads import WatchedThreads
from deployments.shared.watchdog import HUNG_AFTER, ProgressWatch

BUDGET_S = 4.0


class Bench:
    def __init__(self) -> None:
        self.now = 100.0
        self.watch = ProgressWatch(BUDGET_S, slack=1.0, clock=lambda: self.now)
        self.watch.learn(0.0)
        self.threads = WatchedThreads(1, "decoder", self.watch)
        self.gate = threading.Event()

    def stuck(self) -> Future[bool]:
        """Let the thread hang where no work is watched."""
        future = self.threads.submit(self.gate.wait)
        while not future.running():
            pass
        return future

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.now += 1.0
            self.watch.progress()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.gate.set()
    bench.threads.shutdown()


def test_a_thread_has_its_name_in_the_kernel_too(bench: Bench) -> None:
    def name() -> str:
        return Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text(encoding="utf-8").strip()

    assert bench.threads.submit(name).result(5) == "decoder"


def test_a_thread_that_hangs_outside_of_its_work_is_seen_once_it_is_given_more(bench: Bench) -> None:
    bench.stuck()
    bench.pass_time(100)
    bench.watch.check_progress()
    bench.threads.submit(int)
    bench.pass_time(HUNG_AFTER * BUDGET_S)
    with pytest.raises(StageHungError):
        bench.watch.check_progress()


def test_work_that_has_begun_is_watched_by_itself_alone(bench: Bench) -> None:
    bench.stuck()
    bench.pass_time(100)
    assert bench.watch.progress().stalled_s == 0
    bench.gate.set()
    assert bench.threads.submit(lambda: 5).result(5) == 5
    bench.pass_time(100)
    assert bench.watch.progress().stalled_s == 0


def test_work_that_is_cancelled_before_it_begins_is_not_waited_for(bench: Bench) -> None:
    bench.stuck()
    assert bench.threads.submit(int).cancel()
    bench.pass_time(100)
    assert bench.watch.progress().stalled_s == 0


def test_an_error_of_the_work_is_its_caller_s(bench: Bench) -> None:
    with pytest.raises(ValueError, match="x"):
        bench.threads.submit(int, "x").result(5)
