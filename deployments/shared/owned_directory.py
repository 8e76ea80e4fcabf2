"""Private directories that are locked as long as their owner lives, so that what a killed owner left can be removed."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOCK_FILE = "lock"
PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class DirectoryKind:
    """What the directories of one purpose have in common.

    Attributes:
        prefix: how their names begin.
        contents: full match of the path, relative to the directory, of whatever their owner puts into them. A directory
            that holds anything else is nobody's leftover, and never removed.
        vacate: called before a directory is removed: gives up what would outlive its files. Takes the directory.
    """

    prefix: str
    contents: re.Pattern[str]
    vacate: Callable[[Path], None] = lambda _path: None


class OwnedDirectory:
    """A directory with an unguessable name, readable by this user alone, locked for as long as its owner lives.

    The lock ends with the process that holds it, however that process ends. So an unlocked directory is stale.
    """

    def __init__(self, path: Path, kind: DirectoryKind, lock: int) -> None:
        self.path = path
        self._kind = kind
        self._lock = lock

    @classmethod
    def create(cls, base: Path, kind: DirectoryKind) -> OwnedDirectory:
        """Make a new directory below ``base``, after removing those of its kind whose owners are gone.

        Raises:
            OSError: ``base`` cannot be written to.
        """
        remove_stale(base, kind)
        path = Path(tempfile.mkdtemp(prefix=kind.prefix, dir=base))
        return cls(path, kind, _new_lock(path))

    def remove(self) -> None:
        """Delete everything and give up the lock."""
        _remove(self.path, self._kind)
        os.close(self._lock)


def remove_stale(base: Path, kind: DirectoryKind) -> None:
    """Delete the directories of owners that ended without cleaning up (killed, power cut).

    Only what is surely this user's and of this kind: a private directory, without links or files of other names.
    """
    for path in base.glob(kind.prefix + "*"):
        with _lock_of_nobody(path) as is_stale:
            if is_stale and _is_of(kind, path):
                _remove(path, kind)


def _new_lock(path: Path) -> int:
    # Locked before it gets its name: nobody can find the file unlocked and take the directory for stale.
    descriptor, name = tempfile.mkstemp(dir=path)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    Path(name).rename(path / LOCK_FILE)
    return descriptor


@contextmanager
def _lock_of_nobody(path: Path) -> Iterator[bool]:
    """Hold the lock of a directory within the context, if nobody else does: yield whether that is so."""
    if not _is_private(path):
        yield False
        return
    try:
        lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # being created or removed at this moment, or not ours
        yield False
        return
    try:
        yield _locks(lock)
    finally:
        os.close(lock)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_private(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return is_own and stat.S_IMODE(status.st_mode) == PRIVATE


def _is_of(kind: DirectoryKind, directory: Path) -> bool:
    """Return whether a directory holds nothing but what its owner would have put there, and no links."""
    try:
        names = {path.relative_to(directory).as_posix(): path.lstat() for path in directory.rglob("*")}
    except OSError:
        return False
    names.pop(LOCK_FILE, None)
    return all(
        kind.contents.fullmatch(name) and status.st_uid == os.geteuid() and not stat.S_ISLNK(status.st_mode)
        for name, status in names.items()
    )


def _remove(path: Path, kind: DirectoryKind) -> None:
    kind.vacate(path)
    shutil.rmtree(path, ignore_errors=True)
