"""The failure log on disk: whole records or none, in order, bounded, shared."""

import errno
import io
import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.failures.log import FailureLog, state_directory
from deployments.ingress.failures.record import is_id, new_id
from deployments.shared.errors import ConfigurationError
from tests.support.failure_records import AUDIO, EPOCH, failure
from tests.support.homeless import without_home

MIB = 2**20


def log(directory: Path, records: int = 1000, size: int = 64 * MIB) -> FailureLog:
    return FailureLog(directory / "failures", records, size)


def test_what_is_added_is_found_newest_first(tmp_path: Path) -> None:
    added = [failure(second) for second in range(5)]
    for record in (added[3], added[0], added[4], added[2], added[1]):
        log(tmp_path).add(record)
    assert log(tmp_path).page(10) == (added[::-1], False)
    assert log(tmp_path).get(added[2].id) == added[2]


def test_pages_follow_each_other_without_gap_or_overlap(tmp_path: Path) -> None:
    kept = log(tmp_path)
    added = [failure(second) for second in range(7)]
    for record in added:
        kept.add(record)
    found, before, has_more = [], None, True
    while has_more:
        page, has_more = kept.page(3, before)
        before = page[-1].id
        found.append(page)
    assert [len(page) for page in found] == [3, 3, 1]
    assert [record for page in found for record in page] == added[::-1]


def test_a_log_that_was_never_written_to_is_empty(tmp_path: Path) -> None:
    assert log(tmp_path).page(10) == ([], False)
    assert not (tmp_path / "failures").exists()


@pytest.mark.parametrize("audio", [b"", b"\n", AUDIO, os.urandom(3 * MIB)])
def test_audio_comes_back_bit_by_bit(tmp_path: Path, audio: bytes) -> None:
    kept = log(tmp_path)
    record = failure(audio=audio)
    kept.add(record, audio)
    assert kept.get(record.id) == record
    assert kept.audio(record.id) == audio


def test_without_audio_there_is_none(tmp_path: Path) -> None:
    kept = log(tmp_path)
    record = failure()
    kept.add(record)
    assert kept.audio(record.id) is None
    assert kept.audio(new_id(EPOCH)) is None


def test_what_is_deleted_is_gone(tmp_path: Path) -> None:
    kept = log(tmp_path)
    record = failure(audio=AUDIO)
    kept.add(record, AUDIO)
    assert kept.delete(record.id)
    assert not kept.delete(record.id)
    assert kept.get(record.id) is None
    assert kept.audio(record.id) is None
    assert list(kept.directory.iterdir()) == []


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    kept = log(tmp_path)
    kept.add(failure())
    (file,) = kept.directory.iterdir()
    assert stat.S_IMODE(kept.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", "..", "../secret", "/etc/passwd", "20260101T000000000000Z-0000000g", "a" * 300])
def test_a_name_that_is_no_id_reaches_no_file(tmp_path: Path, name: str) -> None:
    kept = log(tmp_path)
    kept.add(failure())
    (tmp_path / "secret.failure").write_text("x")
    assert kept.get(name) is None
    assert kept.audio(name) is None
    assert not kept.delete(name)
    assert (tmp_path / "secret.failure").exists()


@given(st.datetimes(datetime(1970, 1, 1)), st.datetimes(datetime(1970, 1, 1)))  # noqa: DTZ001  (hypothesis wants naive ones)
def test_ids_sort_by_time(one: datetime, other: datetime) -> None:
    first, second = sorted((one.replace(tzinfo=UTC), other.replace(tzinfo=UTC)))
    assert is_id(new_id(first))
    assert new_id(first)[:22] <= new_id(second)[:22]
    assert new_id(first) != new_id(first)


def test_an_id_is_in_utc() -> None:
    assert new_id(EPOCH.astimezone(timezone(timedelta(hours=9)))).startswith("20260101T000000000000Z-")


# Torn and foreign files


def torn(content: bytes) -> list[bytes]:
    """Every way a crash may cut a record short, sparse blocks included."""
    line = content.index(b"\n") + 1
    return [b"", content[:1], content[: line // 2], content[: line - 1], content[:line], content[:-1], bytes(MIB + 1)]


def test_a_torn_file_is_skipped_and_can_be_deleted(tmp_path: Path) -> None:
    kept = log(tmp_path)
    whole = failure(100, audio=AUDIO)
    kept.add(whole, AUDIO)
    content = (kept.directory / f"{whole.id}.failure").read_bytes()
    ids = []
    for second, rest in enumerate(torn(content)):
        ids.append(failure(second).id)
        (kept.directory / f"{ids[-1]}.failure").write_bytes(rest)
    assert kept.page(10) == ([whole], False)
    for failure_id in ids:
        assert kept.get(failure_id) is None
        assert kept.audio(failure_id) is None
        assert kept.delete(failure_id)
    assert kept.page(10) == ([whole], False)


def test_torn_files_count_against_the_bounds(tmp_path: Path) -> None:
    kept = log(tmp_path, records=5)
    kept.directory.mkdir()
    for second in range(5):
        (kept.directory / f"{failure(second).id}.failure").write_bytes(b"torn")
    newest = [failure(second) for second in range(10, 15)]
    for record in newest:
        kept.add(record)
    assert kept.page(10) == (newest[::-1], False)
    assert len(list(kept.directory.iterdir())) == 5


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    kept = log(tmp_path, records=1)
    kept.directory.mkdir()
    for name in ("notes.txt", "x.failure"):
        (kept.directory / name).write_text("mine")
    for second in range(3):
        kept.add(failure(second))
    assert {"notes.txt", "x.failure"} < {path.name for path in kept.directory.iterdir()}
    assert len(kept.page(10)[0]) == 1


def test_what_a_dead_writer_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path: Path) -> None:
    directory = tmp_path / "failures"
    directory.mkdir()
    part = directory / f"{failure().id}.part"
    part.write_bytes(b"half")
    FailureLog(directory, 10, MIB, lambda: time.time() + 60).add(failure(1))
    assert part.exists()
    FailureLog(directory, 10, MIB, lambda: time.time() + 3600).add(failure(2))
    assert not part.exists()


# Bounds


@pytest.mark.parametrize("records", [1, 2, 9, 10, 25])
def test_the_newest_records_are_kept_and_never_too_many(tmp_path: Path, records: int) -> None:
    kept = log(tmp_path, records=records)
    for second in range(60):
        kept.add(failure(second))
        files = list(kept.directory.iterdir())
        assert len(files) <= records
    found, _ = kept.page(100)
    assert len(found) > records * 0.8
    assert [record.request_id for record in found] == [f"request-{59 - index}" for index in range(len(found))]


def test_the_directory_never_grows_past_its_bytes(tmp_path: Path) -> None:
    kept = log(tmp_path, size=MIB)
    audio = bytes(150_000)
    for second in range(20):
        kept.add(failure(second, audio=audio), audio)
        assert sum(path.stat().st_size for path in kept.directory.iterdir()) <= MIB
    found, _ = kept.page(100)
    assert len(found) >= 5
    assert found[0].request_id == "request-19"


def test_a_large_record_takes_the_place_of_many_small_ones(tmp_path: Path) -> None:
    kept = log(tmp_path, size=MIB)
    small, large = bytes(90_000), bytes(900_000)
    for second in range(10):
        kept.add(failure(second, audio=small), small)
    kept.add(failure(10, audio=large), large)
    assert sum(path.stat().st_size for path in kept.directory.iterdir()) <= MIB
    assert kept.page(100)[0][0].request_id == "request-10"


def test_a_record_larger_than_the_log_is_refused_and_costs_no_other(tmp_path: Path) -> None:
    kept = log(tmp_path, size=MIB)
    kept.add(failure(0))
    with pytest.raises(ValueError, match="does not fit"):
        kept.add(failure(1, audio=bytes(MIB)), bytes(MIB))
    assert len(kept.page(10)[0]) == 1


def test_a_storm_looks_at_the_directory_once_in_a_tenth_of_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    iterdir = Path.iterdir

    def counting(path: Path) -> Iterator[Path]:
        nonlocal looks
        looks += 1
        return iterdir(path)

    kept = log(tmp_path, records=100)
    monkeypatch.setattr(Path, "iterdir", counting)
    for second in range(300):
        kept.add(failure(second))
    assert looks == 30


# Several services


def test_writers_that_share_a_directory_lose_nothing(tmp_path: Path) -> None:
    def write(writer: int) -> None:
        kept = log(tmp_path)
        for second in range(40):
            kept.add(failure(second, audio=AUDIO, client=str(writer)), AUDIO)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    found, has_more = log(tmp_path).page(1000)
    assert (len(found), has_more) == (160, False)
    assert sorted(record.client for record in found) == sorted(str(writer) for writer in range(4) for _ in range(40))


def test_writers_that_delete_the_same_old_records_do_each_other_no_harm(tmp_path: Path) -> None:
    def write(writer: int) -> None:
        kept = log(tmp_path, records=20)
        for second in range(100):
            kept.add(failure(second, client=str(writer)))
            kept.page(5)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    found, _ = log(tmp_path).page(1000)
    assert len(found) <= 20 + 3 * 2, "each may be a tenth behind the others"
    assert "request-99" in {record.request_id for record in found}


# A disk that does not take it


class FullDisk(io.FileIO):
    """Takes the first write and no other."""

    def write(self, data: Any) -> int:
        if self.tell():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data) or 0


def unbuffered(descriptor: int, mode: str) -> io.FileIO:
    return FullDisk(descriptor, mode)


def buffered(descriptor: int, mode: str) -> io.BufferedWriter:
    return io.BufferedWriter(FullDisk(descriptor, mode))


@pytest.mark.parametrize("open_file", [unbuffered, buffered])
def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_file: Callable[[int, str], Any]
) -> None:
    kept = log(tmp_path)
    kept.add(failure(0))
    audio = bytes(100_000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", open_file)
        with pytest.raises(OSError, match="No space left"):
            kept.add(failure(1, audio=audio), audio)
    assert len(list(kept.directory.iterdir())) == 1
    kept.add(failure(2))
    assert [record.request_id for record in kept.page(10)[0]] == ["request-2", "request-0"]


def test_a_directory_that_cannot_be_made_is_an_error_of_the_writer(tmp_path: Path) -> None:
    (tmp_path / "failures").write_text("a file is in the way")
    with pytest.raises(OSError, match="File exists"):
        log(tmp_path).add(failure())


def test_the_default_directory_is_the_users_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert state_directory() == Path("/state/amanuensis/failures")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert state_directory() == Path("/home/me/.local/state/amanuensis/failures")


def test_without_a_home_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(monkeypatch)
    with pytest.raises(ConfigurationError, match="AMANUENSIS_FAILURE_LOG_DIR"):
        state_directory()
