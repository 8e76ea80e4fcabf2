"""Between event loop and disk: bounded, never blocking, nothing lost in silence, user data only where it is wanted."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from deployments.ingress.failures import recorder
from deployments.ingress.failures.log import FailureLog
from deployments.ingress.failures.record import Failure
from deployments.ingress.failures.recorder import FailureRecorder
from tests.support.failure_records import AUDIO, failure

MIB = 2**20


class StuckLog(FailureLog):
    """A disk that takes nothing until it is let go."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, 1000, 1024 * MIB)
        self.go = threading.Event()

    def add(self, failure: Failure, audio: bytes = b"") -> None:
        assert self.go.wait(10)
        super().add(failure, audio)


class FullLog(FailureLog):
    """A disk that is full until told otherwise."""

    full = True

    def add(self, failure: Failure, audio: bytes = b"") -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().add(failure, audio)


def recording(log: FailureLog, **options: Any) -> FailureRecorder:
    return FailureRecorder(log, **{"keep_audio": False, **options})


def as_asked(**changes: Any) -> Failure:
    """A failure as the HTTP side hands it over: with everything."""
    return failure(audio=AUDIO, **changes)


def test_audio_and_prompt_are_kept_only_when_asked_for(tmp_path: Path) -> None:
    for keep_audio in (False, True):
        log = FailureLog(tmp_path / str(keep_audio), 10, MIB)
        recorded = recording(log, keep_audio=keep_audio)
        recorded.record(as_asked(), AUDIO)
        recorded.close()
        (record,) = log.page(10)[0]
        (file,) = log.directory.iterdir()
        assert record.audio_bytes == len(AUDIO)
        assert record.audio_kept is keep_audio
        assert log.audio(record.id) == (AUDIO if keep_audio else None)
        assert ("prompt" in record.parameters) is keep_audio
        assert (AUDIO in file.read_bytes()) is keep_audio
        assert ("Köln".encode() in file.read_bytes()) is keep_audio


def test_audio_too_large_for_the_log_is_left_out_and_the_record_is_not(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, 10, MIB)
    audio = bytes(MIB // 2 + 1)
    recorded = recording(log, keep_audio=True)
    recorded.record(failure(audio=audio), audio)
    recorded.close()
    (record,) = log.page(10)[0]
    assert not record.audio_kept
    assert "prompt" not in record.parameters


def test_a_log_without_records_is_off(tmp_path: Path) -> None:
    recorded = recording(FailureLog(tmp_path / "failures", 0, MIB))
    recorded.record(as_asked(), AUDIO)
    recorded.close()
    assert not (tmp_path / "failures").exists()
    assert recorded.as_json() == {"recorded": 0, "dropped": 0, "errors": 0, "backlog": 0}


def test_a_storm_before_a_stuck_disk_is_bounded_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = StuckLog(tmp_path)
    recorded = recording(log)
    with caplog.at_level(logging.ERROR, "ray.serve"):
        for second in range(recorder.BACKLOG_RECORDS + 100):
            recorded.record(failure(second), AUDIO)
    assert recorded.as_json() == {"recorded": 0, "dropped": 100, "errors": 0, "backlog": recorder.BACKLOG_RECORDS}
    assert len(caplog.records) == 1
    log.go.set()
    recorded.close()
    assert recorded.as_json() == {"recorded": recorder.BACKLOG_RECORDS, "dropped": 100, "errors": 0, "backlog": 0}
    assert len(log.page(1000)[0]) == recorder.BACKLOG_RECORDS


def test_audio_that_waits_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "BACKLOG_BYTES", 3 * len(AUDIO))
    log = StuckLog(tmp_path)
    recorded = recording(log, keep_audio=True)
    for second in range(5):
        recorded.record(failure(second, audio=AUDIO), AUDIO)
    assert (recorded.as_json()["backlog"], recorded.dropped) == (3, 2)
    log.go.set()
    recorded.close()
    assert recorded.recorded == 3


def test_a_full_disk_is_counted_told_once_a_minute_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    log = FullLog(tmp_path, 10, MIB)
    recorded = recording(log, clock=lambda: now)
    with caplog.at_level(logging.ERROR, "ray.serve"):
        for second in range(5):
            recorded.record(failure(second), AUDIO)
        while recorded.errors < 5:
            threading.Event().wait(0.001)
        assert len(caplog.records) == 1
        assert "No space left" in caplog.text
        now = 61.0
        recorded.record(failure(5), AUDIO)
        while recorded.errors < 6:
            threading.Event().wait(0.001)
    assert len(caplog.records) == 2
    log.full = False
    recorded.record(failure(6), AUDIO)
    recorded.close()
    assert recorded.as_json() == {"recorded": 1, "dropped": 0, "errors": 6, "backlog": 0}
    assert [record.request_id for record in log.page(10)[0]] == ["request-6"]


def test_a_replay_that_fails_is_no_second_record_while_the_first_is_kept(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, 10, MIB)
    first = failure(0)
    log.add(first)
    recorded = recording(log)
    recorded.record(failure(1, replay_of=first.id), AUDIO)
    recorded.record(failure(2, replay_of="../../etc/passwd"), AUDIO)
    recorded.record(failure(3, replay_of=failure(9).id), AUDIO)
    recorded.close()
    assert [record.request_id for record in log.page(10)[0]] == ["request-3", "request-2", "request-0"]
