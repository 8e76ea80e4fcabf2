"""Files that only this user may read, written whole or not at all, also where the machine loses its power."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PART_SUFFIX = ".part"
MODE = 0o600
COPIED_AT_ONCE = 2**20


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file in place of the one that was there. One writer at a time.

    Args:
        durable: it is there after a power cut too.

    Raises:
        OSError: the file that was there still is.
    """
    part = part_of(path)
    try:
        with _new(part, os.O_TRUNC) as file:
            file.write(content)
            if durable:
                _sync(file)
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def write_part(path: Path, source: IO[bytes]) -> None:
    """Copy what is left of ``source`` into a new part of ``path``, which ``part_of`` names.

    Raises:
        OSError: nothing is left behind.
    """
    part = part_of(path)
    try:
        with _new(part, os.O_EXCL) as file:
            shutil.copyfileobj(source, file, COPIED_AT_ONCE)
            _sync(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def part_of(path: Path) -> Path:
    """Return where a file lies while it is written."""
    return path.with_name(path.name + PART_SUFFIX)


def sync_directory(directory: Path) -> None:
    """Return when the names in a directory would be there after a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file within the context; wait for whoever holds it, be it a thread or a process."""
    with _new(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(path: Path) -> IO[bytes] | None:
    """Return the open file, whose lock ends when it is closed or its process ends; None where another one holds it."""
    file = _new(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _new(path: Path, flags: int = 0) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, MODE), "wb")


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
