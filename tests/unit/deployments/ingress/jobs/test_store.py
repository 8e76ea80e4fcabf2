"""Jobs on disk: there whole or not at all, private, bounded, shared, and still there after a restart."""

import errno
import io
import os
import shutil
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from deployments.ingress.jobs.job import MAX_LOST_RUNS, JobProgress, StoredJob, is_id, new_id
from deployments.ingress.jobs.kept_response import KeptResponse
from deployments.ingress.jobs.store import ABANDONED_S
from deployments.ingress.request import Priority
from deployments.shared.errors import ConfigurationError, InvalidAudioError, JobsFullError, StageLostError
from tests.support.jobs import ANSWER, AUDIO, MIB, added, new_job, store_in

ERROR = InvalidAudioError("The file is empty", param="file")


def test_what_is_added_is_there_after_a_restart(tmp_path: Path) -> None:
    stored = new_job()
    added(store_in(tmp_path), stored)
    again = store_in(tmp_path)
    assert again.get(stored.id) == stored
    assert again.all() == [stored]
    assert again.audio(stored.id) == AUDIO
    assert again.response(stored.id) is None


def test_files_are_private_also_in_a_directory_that_was_open(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir(mode=0o755)
    store = store_in(tmp_path)
    job_id = added(store)
    store.begin_next()
    store.finish(job_id, "done", ANSWER)
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.directory.iterdir()} == {0o600}


def test_a_directory_that_cannot_be_used_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(ConfigurationError, match="jobs_dir"):
        store_in(tmp_path)


def test_ids_are_long_and_never_the_same() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(map(is_id, ids))


@pytest.mark.parametrize("job_id", ["", "job_", "../job", "store.lock", "job_" + "0" * 31 + "/", "job_" + "G" * 32])
def test_nothing_else_is_an_id(tmp_path: Path, job_id: str) -> None:
    store = store_in(tmp_path)
    assert store.get(job_id) is None
    assert store.cancel(job_id) is None
    assert not store.delete(job_id)


def test_the_next_job_is_the_oldest_of_the_highest_priority(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    order = [(Priority.LOW, 0), (Priority.HIGH, 3), (Priority.NORMAL, 1), (Priority.HIGH, 2)]
    ids = [added(store, new_job(priority, second)) for priority, second in order]
    begun = [store.begin_next() for _ in order]
    assert [job.id for job in begun if job] == [ids[3], ids[1], ids[2], ids[0]]
    assert store.begin_next() is None
    assert all(job.is_running and job.job.started_at for job in store.all())


@pytest.mark.parametrize("answer", [ANSWER, KeptResponse(200, {}, b""), KeptResponse(400, {"x": "é"}, b"\n\r\n{}\n")])
def test_an_answer_comes_back_bit_by_bit_and_the_audio_is_gone(tmp_path: Path, answer: KeptResponse) -> None:
    store = store_in(tmp_path)
    job_id = added(store)
    store.begin_next()
    finished = store.finish(job_id, "done", answer)
    assert finished is not None
    assert finished.job.finished_at is not None
    again = store_in(tmp_path)
    assert again.get(job_id) == finished
    assert again.response(job_id) == answer
    with pytest.raises(FileNotFoundError):
        again.audio(job_id)
    assert store.ended == {"done": 1}


def test_a_failed_job_keeps_its_error(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    job_id = added(store)
    store.begin_next()
    store.finish(job_id, "failed", KeptResponse.of_error(ERROR), ERROR)
    failed = store.get(job_id)
    assert failed is not None
    assert (failed.job.status, failed.job.error) == ("failed", ERROR.body()["error"])


def test_only_a_running_job_can_be_finished(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    waiting, cancelled = added(store), added(store, new_job(Priority.HIGH))
    store.begin_next()
    store.cancel(cancelled)
    for job_id in (waiting, cancelled):
        before = store.get(job_id)
        assert store.finish(job_id, "done", ANSWER) == before
        assert store.response(job_id) is None


def test_a_cancelled_job_stays_so(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    job_id = added(store)
    first = store.cancel(job_id)
    assert first is not None
    assert first.job.status == "cancelled"
    assert store.cancel(job_id) == first
    assert store.begin_next() is None
    assert store.ended == {"cancelled": 1}


def test_a_lost_job_waits_again_until_it_was_lost_too_often(tmp_path: Path) -> None:
    job_id = added(store_in(tmp_path))
    for count in range(1, MAX_LOST_RUNS):
        store = store_in(tmp_path)
        assert store.begin_next() is not None
        lost = store_in(tmp_path).lose(job_id)
        assert lost is not None
        assert (lost.job.status, lost.lost_runs) == ("queued", count)
    store.begin_next()
    store.lose(job_id)
    failed, response = store.get(job_id), store.response(job_id)
    assert failed is not None
    assert failed.job.error is not None
    assert failed.job.error["code"] == "job_abandoned"
    assert response is not None
    assert response.status == 500
    assert b"job_abandoned" in response.body


def test_the_last_lost_run_says_what_it_was_lost_to(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    job_id = added(store)
    for _ in range(MAX_LOST_RUNS):
        store.begin_next()
        store.lose(job_id, StageLostError("gone"))
    failed = store.get(job_id)
    assert failed is not None
    assert failed.job.error is not None
    assert failed.job.error["code"] == "stage_lost"


def test_a_job_that_is_put_back_has_lost_nothing(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    job_id = added(store)
    for _ in range(MAX_LOST_RUNS + 1):
        store.begin_next()
        store.change(job_id, StoredJob.put_back)
    stored = store.get(job_id)
    assert stored is not None
    assert (stored.job.status, stored.lost_runs) == ("queued", 0)


def test_progress_is_seen_by_others_and_gone_with_its_run(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    job_id = added(store)
    store.begin_next()
    progress = JobProgress(seconds_done=1.0, seconds=3.0, windows_done=1, windows=3)
    store.change(job_id, lambda stored: stored.advanced(progress), durable=False)
    seen = store_in(tmp_path).get(job_id)
    assert seen is not None
    assert seen.job.progress == progress
    put_back = store.change(job_id, StoredJob.put_back)
    assert put_back is not None
    assert put_back.job.progress is None
    assert put_back.advanced(progress) == put_back, "a run that is over has no progress"


class TestBounds:
    def test_no_more_jobs_than_may_be(self, tmp_path: Path) -> None:
        store = store_in(tmp_path, max_jobs=2)
        first = added(store)
        added(store)
        with pytest.raises(JobsFullError, match="2 jobs"):
            added(store)
        with pytest.raises(JobsFullError):
            store.refuse_if_full(1, 0)
        assert len(store.all()) == 2
        store.delete(first)
        added(store)

    def test_no_more_bytes_than_may_be_and_nothing_stays_of_what_is_refused(self, tmp_path: Path) -> None:
        store = store_in(tmp_path, max_bytes=MIB)
        added(store, audio=bytes(MIB // 2))
        before = {path.name for path in store.directory.iterdir()}
        with pytest.raises(JobsFullError):
            added(store, audio=bytes(MIB // 2))
        with pytest.raises(JobsFullError):
            store.refuse_if_full(1, MIB // 2)
        assert {path.name for path in store.directory.iterdir()} == before
        added(store, audio=bytes(MIB // 4))

    def test_a_full_disk_refuses_the_job_and_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = store_in(tmp_path)

        def full(_source: IO[bytes], target: IO[bytes], _: int) -> None:
            target.write(b"some")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(JobsFullError):
            added(store)
        assert not list(store.directory.glob("job_*"))

    def test_two_replicas_do_not_exceed_the_bound_together(self, tmp_path: Path) -> None:
        def add(_: int) -> bool:
            try:
                added(store_in(tmp_path, max_jobs=5))
            except JobsFullError:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            taken = list(threads.map(add, range(20)))
        assert sum(taken) == 5
        assert len(store_in(tmp_path).all()) == 5


class TestDeletion:
    def test_a_deleted_job_leaves_nothing(self, tmp_path: Path) -> None:
        store = store_in(tmp_path)
        job_id = added(store)
        store.begin_next()
        store.finish(job_id, "done", ANSWER)
        assert store.delete(job_id)
        assert not store.delete(job_id)
        assert not list(store.directory.glob("job_*"))

    def test_jobs_are_deleted_a_while_after_their_end_and_not_before(self, tmp_path: Path) -> None:
        now = [1000.0]
        store = store_in(tmp_path, kept_s=60.0, clock=lambda: now[0])
        ended, waiting = added(store), added(store)
        store.cancel(ended)
        now[0] += 60.0
        store.delete_old()
        assert store.get(ended) is not None
        now[0] += 1.0
        store.delete_old()
        assert store.get(ended) is None
        assert store.get(waiting) is not None

    def test_what_a_killed_writer_left_is_deleted_once_it_is_old(self, tmp_path: Path) -> None:
        store = store_in(tmp_path)
        job_id = added(store)
        kept = {path.name for path in store.directory.iterdir()}
        left = [f"{new_id()}.audio", f"{new_id()}.audio.part", f"{job_id}.job.part", f"{new_id()}.response"]
        for name in left:
            (store.directory / name).write_bytes(b"x")
        (store.directory / "notes.txt").write_bytes(b"somebody's")
        store.delete_old()
        assert {path.name for path in store.directory.iterdir()} == {*kept, *left, "notes.txt"}
        old = time.time() - ABANDONED_S - 1
        for path in store.directory.iterdir():
            os.utime(path, (old, old))
        store.delete_old()
        assert {path.name for path in store.directory.iterdir()} == {*kept, "notes.txt"}

    def test_a_job_that_cannot_be_read_is_left_alone_and_told_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = store_in(tmp_path)
        (store.directory / f"{new_id()}.job").write_text("{}")
        job_id = added(store)
        for _ in range(3):
            assert [stored.id for stored in store.all()] == [job_id]
        assert caplog.text.count("cannot be read") == 1


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_job_that_could_not_be_synced_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """First its audio, then what is known of it, then the directory."""
    store = store_in(tmp_path)
    calls: list[int] = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == call:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        store.add(new_job(), io.BytesIO(AUDIO))
    assert not list(store.directory.glob("job_*"))


def test_an_accepted_job_is_synced_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real: Callable[[int], None] = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2])  # noqa: PTH115
        real(descriptor)

    store = store_in(tmp_path)
    monkeypatch.setattr(os, "fsync", fsync)
    job_id = added(store)
    assert synced == [f"{job_id}.audio.part", f"{job_id}.job.part", "jobs"]


def test_one_process_at_a_time_may_run_jobs(tmp_path: Path) -> None:
    first = store_in(tmp_path).try_runner_lock()
    assert first is not None
    assert store_in(tmp_path).try_runner_lock() is None
    first.close()
    second = store_in(tmp_path).try_runner_lock()
    assert second is not None
    second.close()
