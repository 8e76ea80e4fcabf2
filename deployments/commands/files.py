"""Makes directories, and files in one step, so that nobody ever reads half of one."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments.commands.errors import CommandError

OWNER_ONLY = 0o600
OWNER_ONLY_DIRECTORY = 0o700


def make_directory(path: Path, *, mode: int = 0o777) -> None:
    """Make a directory and those that it is in, unless they are there.

    Args:
        path: the directory.
        mode: of each one that is made, less what the process' umask takes away.

    Raises:
        CommandError: it cannot be made.
    """
    try:
        for directory in (*reversed([each for each in path.parents if not each.exists()]), path):
            directory.mkdir(mode, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{path} cannot be made: {error.strerror}") from error


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Let nobody else on this machine change a file between a look at it and its replacement, within the context.

    The lock is that of its directory: the file itself is another one afterwards.

    Raises:
        CommandError: there is no such directory.
    """
    try:
        lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def replace_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file. One that is there already keeps its owner and mode.

    Args:
        path: the file.
        content: all that it holds from now on.
        mode: of a new file, less what the process' umask takes away.

    Raises:
        CommandError: it cannot be written; what was there is still there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as target:
                target.write(content)
                if path.exists():
                    before = path.stat()
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
