"""The memory that a server takes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

from loadtests.common.cpu_time import family_of

KIB = 2**10
MIB = 2**20


def resident_mib(launcher: psutil.Process) -> float:
    """Return the proportional set size of a process and all that descend from it: shared memory counts once."""
    found = 0
    for process in family_of(launcher):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found += process.memory_full_info().pss
    return found / MIB


def peak_mib(process: psutil.Process) -> float:
    """Return the most memory that a process ever had resident, what it shares with others included."""
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) / KIB for line in lines if line.startswith("VmHWM:"))
