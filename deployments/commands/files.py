"""Makes directories, and files in one step, so that nobody ever reads half of one."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from deployments.commands.errors import CommandError


def make_directory(path: Path) -> None:
    """Make a directory and those that it is in, unless they are there.

    Raises:
        CommandError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{path} cannot be made: {error.strerror}") from error


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
