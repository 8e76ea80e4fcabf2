"""The service's private directory in shared memory: holds the slab and the spool, and leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from deployments.shared.errors import ConfigurationError

PREFIX = "amanuensis-"
LOCK_FILE = "lock"


class SharedDirectory:
    """A directory with an unguessable name, readable by this user alone, locked for as long as its owner lives.

    The lock ends with the process that holds it, however that process ends. So an unlocked directory is stale.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, base: Path) -> SharedDirectory:
        """Make a new directory below ``base``, after removing those whose owners are gone.

        Raises:
            ConfigurationError: ``base`` cannot be written to.
        """
        try:
            remove_stale(base)
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        except OSError as error:
            raise ConfigurationError(
                f"shared_memory_dir {base} cannot be used ({error.strerror}); set AMANUENSIS_SHARED_MEMORY_DIR "
                "to a writable directory, best on tmpfs"
            ) from error
        return cls(path, _lock(path))

    def remove(self) -> None:
        """Delete everything and give up the lock; stages that still map the slab keep their mapping."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _lock(path: Path) -> int:
    # Locked before it gets its name: nobody can find the file unlocked and take the directory for stale.
    descriptor, name = tempfile.mkstemp(dir=path)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    Path(name).rename(path / LOCK_FILE)
    return descriptor


def remove_stale(base: Path) -> None:
    """Delete the directories of services that ended without cleaning up (killed, power cut)."""
    for path in base.glob(PREFIX + "*"):
        if _is_stale(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_stale(path: Path) -> bool:
    try:
        lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # being created at this moment, or another user's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(lock)
