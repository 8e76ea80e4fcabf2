"""Jobs run in order, so many at once, and survive whatever happens to the process that runs them."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from deployments.ingress.jobs.job import MAX_LOST_RUNS, JobProgress, StoredJob
from deployments.ingress.jobs.kept_response import KeptResponse
from deployments.ingress.jobs.runner import JobRunner, Report, Work
from deployments.ingress.jobs.store import JobStore
from deployments.ingress.request import Priority
from deployments.shared.errors import (
    AmanuensisError,
    CircuitOpenError,
    InternalError,
    InvalidAudioError,
    JobsFullError,
    OverloadedError,
    QueueFullError,
    StageLostError,
    StageTimeoutError,
)
from tests.support.jobs import (
    ANSWER,
    AUDIO,
    added,
    answers,
    hangs,
    has_status,
    new_job,
    run,
    runner_of,
    runs,
    store_in,
    until,
)
from tests.support.paths import ROOT

SOON = 0.01


def failing(*errors: Exception) -> Work:
    """Work that raises these, one per run, then answers."""
    left = list(errors)

    async def fail(job: StoredJob, audio: bytes, report: Report) -> KeptResponse:
        if left:
            raise left.pop(0)
        return await answers(job, audio, report)

    return fail


def job_of(store: JobStore, job_id: str) -> StoredJob:
    stored = store.get(job_id)
    assert stored is not None
    return stored


def run_and_be_killed(directory: Path) -> None:
    """Let a process run the next job, which kills it."""
    command = [sys.executable, "-m", "tests.support.job_killer", str(directory)]
    ended = subprocess.run(command, cwd=ROOT, check=False, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.returncode == -signal.SIGKILL


def test_a_job_is_answered_with_its_own_audio(tmp_path: Path) -> None:
    store, seen = store_in(tmp_path), list[tuple[str, bytes]]()

    async def work(job: StoredJob, audio: bytes, report: Report) -> KeptResponse:
        seen.append((job.id, audio))
        return await answers(job, audio, report)

    async def scenario() -> None:
        before = added(store)
        runner = runner_of(store)
        async with runs(runner, work):
            await until(lambda: has_status(store, before, "done"))
            later = added(store)
            runner.wake()
            await until(lambda: has_status(store, later, "done"))
            assert seen == [(before, AUDIO), (later, AUDIO)]
            assert store.response(later) == ANSWER
            await until(lambda: runner.counts == {"done": 2})

    run(scenario)


def test_so_many_run_at_once_by_priority_and_age(tmp_path: Path) -> None:
    store, running, most, pairs = store_in(tmp_path), set[str](), list[int](), asyncio.Barrier(2)
    given = [(Priority.LOW, 0), (Priority.LOW, 1), (Priority.NORMAL, 2), (Priority.HIGH, 3)]
    ids = [added(store, new_job(priority, second)) for priority, second in given]

    async def work(job: StoredJob, _audio: bytes, _report: Report) -> KeptResponse:
        running.add(job.id)
        most.append(len(running))
        await pairs.wait()
        await asyncio.sleep(SOON)
        running.remove(job.id)
        return ANSWER

    async def scenario() -> None:
        async with runs(runner_of(store, at_once=2), work):
            await until(lambda: all(has_status(store, job_id, "done") for job_id in ids))
        assert max(most) == 2
        begun = sorted(store.all(), key=lambda stored: str(stored.job.started_at))
        assert [stored.id for stored in begun] == [ids[3], ids[2], ids[0], ids[1]]

    run(scenario)


def test_nothing_begins_before_the_service_is_ready(tmp_path: Path) -> None:
    store, ready = store_in(tmp_path), list[bool]()
    job_id = added(store)

    async def scenario() -> None:
        runner = runner_of(store, is_ready=lambda: bool(ready))
        async with runs(runner):
            await until(lambda: runner.counts == {"queued": 1})
            await asyncio.sleep(5 * SOON)
            assert has_status(store, job_id, "queued")
            ready.append(True)
            runner.wake()
            await until(lambda: has_status(store, job_id, "done"))

    run(scenario)


def test_progress_reaches_the_disk_while_the_job_runs(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    job_id = added(store)
    progress = JobProgress(seconds_done=30.0, seconds=90.0, windows_done=1, windows=3)

    async def work(job: StoredJob, audio: bytes, report: Report) -> KeptResponse:
        report(progress)
        return await hangs(job, audio, report)

    async def scenario() -> None:
        async with runs(runner_of(store), work):
            await until(lambda: job_of(store, job_id).job.progress == progress)
            assert has_status(store, job_id, "running")

    run(scenario)


class TestErrors:
    @pytest.mark.parametrize("error", [QueueFullError("full"), OverloadedError("much"), CircuitOpenError("open")])
    def test_a_job_that_is_refused_waits_and_is_tried_again(self, tmp_path: Path, error: AmanuensisError) -> None:
        store = store_in(tmp_path)
        job_id = added(store)
        error.retry_after_s = SOON

        async def scenario() -> None:
            async with runs(runner_of(store), failing(*[error] * (MAX_LOST_RUNS + 2))):
                await until(lambda: has_status(store, job_id, "done"))
            assert job_of(store, job_id).lost_runs == 0

        run(scenario)

    def test_while_the_service_is_full_no_other_job_begins(self, tmp_path: Path) -> None:
        store = store_in(tmp_path)
        refused, other = added(store), added(store, new_job(second=1))

        async def scenario() -> None:
            runner = runner_of(store)
            async with runs(runner, failing(QueueFullError("full", retry_after_s=60))):
                await until(lambda: runner.counts == {"queued": 2})
                await until(lambda: has_status(store, refused, "queued"))
                runner.wake()
                await asyncio.sleep(5 * SOON)
                assert has_status(store, other, "queued")

        run(scenario)

    @pytest.mark.parametrize("error", [StageLostError("gone"), InternalError("unforeseen"), StageTimeoutError("late")])
    def test_a_run_that_the_service_lost_is_tried_again_a_few_times(
        self, tmp_path: Path, error: AmanuensisError
    ) -> None:
        store = store_in(tmp_path)
        lucky, unlucky = added(store), added(store, new_job(second=1))
        error.retry_after_s = SOON
        errors = [error] * (MAX_LOST_RUNS - 1)

        async def scenario() -> None:
            async with runs(runner_of(store), failing(*errors)):
                await until(lambda: has_status(store, lucky, "done"))
                await until(lambda: has_status(store, unlucky, "done"))
            unlucky_too = added(store)
            async with runs(runner_of(store), failing(*errors, error)):
                await until(lambda: has_status(store, unlucky_too, "failed"))
            details = job_of(store, unlucky_too).job.error
            assert details is not None
            assert details["code"] == error.code

        run(scenario)

    def test_a_bad_recording_fails_at_once_with_the_answer_it_would_have_got(self, tmp_path: Path) -> None:
        store, error = store_in(tmp_path), InvalidAudioError("The file is cut off", param="file")
        job_id = added(store)

        async def scenario() -> None:
            async with runs(runner_of(store), failing(error)):
                await until(lambda: has_status(store, job_id, "failed"))
            assert store.response(job_id) == KeptResponse.of_error(error)
            assert job_of(store, job_id).job.error == error.body()["error"]

        run(scenario)

    def test_a_fault_that_nobody_foresaw_costs_a_run_and_stops_no_other_job(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = store_in(tmp_path)
        bad, good = added(store), added(store, new_job(second=1))
        (store.directory / f"{bad}.audio").unlink()

        async def scenario() -> None:
            async with runs(runner_of(store)):
                await until(lambda: has_status(store, bad, "failed"))
                await until(lambda: has_status(store, good, "done"))

        run(scenario)
        assert caplog.text.count("was interrupted in an unforeseen way") == MAX_LOST_RUNS


class TestCancelling:
    def test_a_waiting_job_never_begins(self, tmp_path: Path) -> None:
        store = store_in(tmp_path)
        running, waiting = added(store), added(store, new_job(second=1))

        async def scenario() -> None:
            runner = runner_of(store)
            async with runs(runner, hangs):
                await until(lambda: has_status(store, running, "running"))
                assert await runner.cancel(waiting)
            assert job_of(store, waiting).job.started_at is None
            assert store.ended == {"cancelled": 1}

        run(scenario)

    def test_a_running_job_stops_at_once_and_the_next_one_begins(self, tmp_path: Path) -> None:
        store, stopped = store_in(tmp_path), list[str]()
        first, second = added(store), added(store, new_job(second=1))

        async def work(job: StoredJob, audio: bytes, report: Report) -> KeptResponse:
            try:
                return await hangs(job, audio, report)
            finally:
                stopped.append(job.id)

        async def scenario() -> None:
            runner = runner_of(store)
            async with runs(runner, work):
                await until(lambda: has_status(store, first, "running"))
                await runner.cancel(first)
                await until(lambda: stopped == [first])
                await until(lambda: has_status(store, second, "running"))
                assert has_status(store, first, "cancelled")

        run(scenario)

    def test_a_job_that_another_process_cancels_stops_soon(self, tmp_path: Path) -> None:
        store = store_in(tmp_path)
        job_id, second = added(store), added(store, new_job(second=1))

        async def scenario() -> None:
            async with runs(runner_of(store), hangs):
                await until(lambda: has_status(store, job_id, "running"))
                await runner_of(store_in(tmp_path)).cancel(job_id)
                await until(lambda: has_status(store, second, "running"))
                assert has_status(store, job_id, "cancelled")

        run(scenario)

    def test_an_unknown_job_is_none(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            assert await runner_of(store_in(tmp_path)).cancel(new_job().id) is None

        run(scenario)


class TestStops:
    def test_a_pause_puts_the_running_job_back_and_begins_no_other(self, tmp_path: Path) -> None:
        store = store_in(tmp_path)
        job_id = added(store)

        async def scenario() -> None:
            runner = runner_of(store)
            async with runs(runner, hangs):
                await until(lambda: has_status(store, job_id, "running"))
                await runner.pause()
                assert has_status(store, job_id, "queued")
                runner.wake()
                await asyncio.sleep(5 * SOON)
                assert has_status(store, job_id, "queued")

        run(scenario)
        assert job_of(store, job_id).lost_runs == 0

    def test_a_slow_disk_does_not_make_a_pause_look_like_a_loss(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = store_in(tmp_path)
        job_id = added(store)
        change = store.change

        def slow(changed: str, how: Callable[[StoredJob], StoredJob], *, durable: bool = True) -> StoredJob | None:
            if how is StoredJob.put_back:
                time.sleep(10 * SOON)
            return change(changed, how, durable=durable)

        monkeypatch.setattr(store, "change", slow)

        async def scenario() -> None:
            runner = runner_of(store)
            async with runs(runner, hangs):
                await until(lambda: has_status(store, job_id, "running"))
                await runner.pause()
                assert (job_of(store, job_id).job.status, job_of(store, job_id).lost_runs) == ("queued", 0)

        run(scenario)

    def test_a_disk_that_takes_nothing_holds_up_no_stop(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = store_in(tmp_path)
        job_id = added(store)

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        async def scenario() -> None:
            async with runs(runner_of(store), hangs):
                await until(lambda: has_status(store, job_id, "running"))
                monkeypatch.setattr(store, "change", full)
            monkeypatch.undo()
            assert "counts as lost: No space left" in caplog.text
            async with runs(runner_of(store)):
                await until(lambda: has_status(store, job_id, "done"))
            assert job_of(store, job_id).lost_runs == 1

        run(scenario)

    def test_an_orderly_end_costs_no_run_and_the_next_start_goes_on(self, tmp_path: Path) -> None:
        store = store_in(tmp_path)
        job_id = added(store)

        async def scenario() -> None:
            for _ in range(MAX_LOST_RUNS + 1):
                async with runs(runner_of(store), hangs):
                    await until(lambda: has_status(store, job_id, "running"))
                assert has_status(store, job_id, "queued")
            async with runs(runner_of(store_in(tmp_path))):
                await until(lambda: has_status(store, job_id, "done"))

        run(scenario)

    def test_a_job_whose_process_was_killed_is_run_again(self, tmp_path: Path) -> None:
        store = store_in(tmp_path)
        job_id = added(store)
        run_and_be_killed(tmp_path)
        assert has_status(store, job_id, "running")

        async def scenario() -> None:
            async with runs(runner_of(store)):
                await until(lambda: has_status(store, job_id, "done"))
            assert job_of(store, job_id).lost_runs == 1

        run(scenario)

    def test_a_job_that_kills_its_process_each_time_is_given_up(self, tmp_path: Path) -> None:
        store = store_in(tmp_path)
        killer, innocent = added(store), added(store, new_job(second=1))
        for _ in range(MAX_LOST_RUNS):
            run_and_be_killed(tmp_path)

        async def scenario() -> None:
            async with runs(runner_of(store)):
                await until(lambda: has_status(store, innocent, "done"))
            failed = job_of(store, killer)
            assert failed.job.error is not None
            assert (failed.job.status, failed.job.error["code"]) == ("failed", "job_abandoned")

        run(scenario)


class TestReplicas:
    def test_one_of_two_runs_the_jobs_and_the_other_goes_on_when_it_is_gone(self, tmp_path: Path) -> None:
        store, other, runs_of = store_in(tmp_path), store_in(tmp_path), list[str]()

        def noted(name: str) -> Work:
            async def work(job: StoredJob, audio: bytes, report: Report) -> KeptResponse:
                runs_of.append(name)
                return await answers(job, audio, report)

            return work

        async def one_more(*awake: JobRunner) -> None:
            job_id = added(other)
            for runner in awake:
                runner.wake()
            await until(lambda: has_status(store, job_id, "done"))

        async def scenario() -> None:
            first, second = runner_of(store), runner_of(other)
            async with AsyncExitStack() as until_both_end:
                until_first_ends = await until_both_end.enter_async_context(AsyncExitStack())
                await until_first_ends.enter_async_context(first.running(noted("first")))
                await one_more()
                await until_both_end.enter_async_context(second.running(noted("second")))
                await one_more(second, first)
                await until(lambda: second.counts == {"done": 2})
                await until_first_ends.aclose()
                await one_more(second)
            assert runs_of == ["first", "first", "second"]

        run(scenario)


class TestUploads:
    def test_uploads_under_way_count_as_jobs_and_by_their_size(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            runner = runner_of(store_in(tmp_path, max_jobs=2, max_bytes=1000))
            async with runner.uploading(600):
                with pytest.raises(JobsFullError):
                    async with runner.uploading(600):
                        raise AssertionError("unreachable")
                async with runner.uploading(300):
                    with pytest.raises(JobsFullError, match="2 jobs"):
                        async with runner.uploading(0):
                            raise AssertionError("unreachable")
            async with runner.uploading(900):
                pass

        run(scenario)
