"""Where a running service keeps HAProxy's files and sockets, and what else its processes leave for each other."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from deployments.ingress.shared_directory import SharedDirectory
from deployments.shared.errors import ConfigurationError

LONGEST: Final = 30
"""Longest path below which HAProxy's sockets find room: 107 bytes less a node's name and what HAProxy adds."""


def create_runtime_directory() -> SharedDirectory:
    """Make a directory that no other user can read, after removing those of services that were killed.

    Raises:
        ConfigurationError: there is no place for it.
    """
    return SharedDirectory.create(runtime_base())


def runtime_base() -> Path:
    """Return the directory for directories of running services.

    Raises:
        ConfigurationError: none can be written to.
    """
    named = [Path(f"/run/user/{os.getuid()}"), Path(os.environ.get("TMPDIR") or "/tmp"), Path("/tmp")]  # noqa: S108
    for base in named:
        if len(str(base)) + len("/amanuensis-12345678") <= LONGEST and is_writable(base):
            return base
    raise ConfigurationError(
        "There is no place for the sockets of a running service: neither TMPDIR (which must be short) nor /tmp can be "
        "written to"
    )


def is_writable(base: Path) -> bool:
    """Tell whether this process can make files in a directory."""
    try:
        with tempfile.TemporaryFile(dir=base):
            return True
    except OSError:
        return False
