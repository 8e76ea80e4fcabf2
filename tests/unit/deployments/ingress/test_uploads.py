"""Uploads are written and deleted beside the event loop where they are large, and none stays behind."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.ingress import uploads
from deployments.ingress.uploads import LARGE, Uploads
from deployments.shared.contracts import BlobRef, SpooledBlob
from deployments.shared.errors import OutOfSpaceError
from deployments.shared.memory import handoff, spool


def run(scenario: Callable[[], object]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 10))  # type: ignore[arg-type]


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def gone(directory: Path) -> None:
    """Until the directory is empty."""
    while os.listdir(directory):  # noqa: ASYNC110, PTH208  (no event tells of files)
        await asyncio.sleep(0.005)


def noted(work: Callable[..., object], threads: set[int]) -> Callable[..., object]:
    """Return the same work, which notes the thread that does it."""

    def done(*arguments: object) -> object:
        threads.add(threading.get_ident())
        return work(*arguments)

    return done


@pytest.mark.parametrize(("size", "beside"), [(LARGE - 1, False), (LARGE, True)])
def test_the_event_loop_writes_and_deletes_only_what_is_small(
    size: int, beside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    monkeypatch.setattr(uploads, "write_upload", noted(spool.write_upload, threads))
    monkeypatch.setattr(uploads, "drop", noted(handoff.drop, threads))

    async def scenario() -> None:
        kept = Uploads(tmp_path)
        upload = await kept.store(bytes(size))
        assert isinstance(upload, SpooledBlob)
        assert [file.stat().st_size for file in files(tmp_path)] == [size]
        kept.discard(upload, size)
        await gone(tmp_path)
        assert (threading.get_ident() in threads) != beside

    run(scenario)


def test_an_upload_that_is_cancelled_while_it_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, dropped = threading.Event(), threading.Event(), threading.Event()

    def slowly(directory: Path, audio: bytes) -> Path:
        begun.set()
        assert go_on.wait(10)
        return spool.write_upload(directory, audio)

    def drop(upload: BlobRef) -> None:
        assert files(tmp_path)
        handoff.drop(upload)
        dropped.set()

    monkeypatch.setattr(uploads, "write_upload", slowly)
    monkeypatch.setattr(uploads, "drop", drop)

    async def scenario() -> None:
        kept = Uploads(tmp_path)
        storing = asyncio.create_task(kept.store(bytes(LARGE)))
        await asyncio.to_thread(begun.wait)
        storing.cancel()
        await asyncio.wait((storing,))
        assert storing.cancelled()
        go_on.set()
        await asyncio.to_thread(dropped.wait)
        await gone(tmp_path)

    run(scenario)


def test_a_large_upload_without_room_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spool, "_write", is_full)

    async def scenario() -> None:
        with pytest.raises(OutOfSpaceError):
            await Uploads(tmp_path).store(bytes(LARGE))
        await gone(tmp_path)

    run(scenario)


def test_what_cannot_be_deleted_now_is_deleted_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = 2

    def drop(upload: BlobRef) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        handoff.drop(upload)

    monkeypatch.setattr(uploads, "drop", drop)
    monkeypatch.setattr(uploads, "RETRY_S", 0.0)

    async def scenario() -> None:
        kept = Uploads(tmp_path)
        kept.discard(await kept.store(b"audio"), 5)
        assert files(tmp_path)
        await gone(tmp_path)

    run(scenario)
