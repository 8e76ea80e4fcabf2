"""The memory that a server takes, over all of its processes."""

from __future__ import annotations

from contextlib import suppress

import psutil

from loadtests.common.cpu_time import family_of

MIB = 2**20


def resident_mib(launcher: psutil.Process) -> float:
    """Return the proportional set size of a process and all that descend from it: shared memory counts once."""
    found = 0
    for process in family_of(launcher):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found += process.memory_full_info().pss
    return found / MIB
