"""The secret that Ray asks for before it does what somebody says: whoever has it can run code."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

TOKEN_VARIABLE: Final = "RAY_AUTH_TOKEN"  # noqa: S105  (the name of a variable)
PATH_VARIABLE: Final = "RAY_AUTH_TOKEN_PATH"
BYTES: Final = 32


def provide_token(directory: Path) -> None:
    """See to it that Ray finds a token that no other user of the machine can read.

    Ray would make one itself, in the user's home, but readable by all, and fails where there is no home.

    Args:
        directory: the service's own, for the token where there is no home to keep it in.
    """
    if os.environ.get(TOKEN_VARIABLE) or os.environ.get(PATH_VARIABLE):
        return
    try:
        _make(Path("~/.ray/auth_token").expanduser())
    except (OSError, RuntimeError):
        _make(directory / "ray-token")
        os.environ[PATH_VARIABLE] = str(directory / "ray-token")


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        return
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  (a descriptor)
        file.write(secrets.token_hex(BYTES))
