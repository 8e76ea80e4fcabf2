"""The service's private directory in shared memory: holds the slab and the spool, and leaves nothing behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from deployments.shared.errors import ConfigurationError
from deployments.shared.memory.slab import retire
from deployments.shared.memory.spool import PCM_SUFFIX, REQUEST_PREFIX, UPLOAD
from deployments.shared.owned_directory import DirectoryKind, OwnedDirectory

SLAB: Final = "slab"

PATIENCE_S: Final = 5.0
"""Longest wait for the calls that use a slab which is removed: several steps of a Decoder. Whoever takes longer keeps
the memory of its slot until the stage drops the slab at its next health check."""


def _retire_slab(directory: Path) -> None:
    retire(directory / SLAB, PATIENCE_S)


SHARED_MEMORY: Final = DirectoryKind(
    prefix="amanuensis-",
    contents=re.compile(rf"{SLAB}|{REQUEST_PREFIX}\w+(/({UPLOAD}|\w+{re.escape(PCM_SUFFIX)}))?"),
    vacate=_retire_slab,
)


def create_directory(base: Path) -> OwnedDirectory:
    """Make the service's directory below ``base``, after removing those of services that are gone.

    Raises:
        ConfigurationError: ``base`` cannot be written to.
    """
    try:
        return OwnedDirectory.create(base, SHARED_MEMORY)
    except OSError as error:
        raise ConfigurationError(
            f"shared_memory_dir {base} cannot be used ({error.strerror}); set AMANUENSIS_SHARED_MEMORY_DIR "
            "to a writable directory, best on tmpfs"
        ) from error
