"""CPU seconds by role, over the processes of one service and of the load generator."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress

import psutil

LOAD_GENERATOR = "load generator"
OTHER = "other"
REPLICA = re.compile(r"ray::ServeReplica:[\w-]+:(\w+)")
ROLES = (
    ("haproxy", "HAProxy"),
    ("ray::HAProxyManager", "HAProxy manager"),
    ("ray::ProxyActor", "Serve proxy"),
    ("ray::ServeController", "Serve controller"),
    ("raylet", "Ray"),
    ("gcs_server", "Ray"),
    ("dashboard", "Ray"),
    ("ray::", "Ray"),
    ("whisper-server", "whisper.cpp"),
)


def cpu_s_by_role(service: psutil.Process) -> dict[str, float]:
    """Return the CPU seconds used so far by a service's processes, by role, and by this one, the load generator.

    Args:
        service: its launcher, from which all its processes descend; those without a role are left out.
    """
    used = cpu_s_of(family_of(service))
    used.pop(OTHER, None)
    return {LOAD_GENERATOR: cpu_s(psutil.Process()), **used}


def cpu_s_of(processes: Iterable[psutil.Process]) -> dict[str, float]:
    """Return the CPU seconds used so far by processes, by role; ``OTHER`` is what those without a role used."""
    used: defaultdict[str, float] = defaultdict(float)
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            used[role_of(" ".join(process.cmdline())) or OTHER] += cpu_s(process)
    return dict(used)


def cpu_s_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return what each role used between two readings; a role whose processes were replaced counts as 0."""
    return {role: max(0.0, used - before.get(role, 0.0)) for role, used in after.items()}


def family_of(launcher: psutil.Process) -> list[psutil.Process]:
    """Return a process and all that descend from it."""
    return [launcher, *launcher.children(recursive=True)]


def of_role(launcher: psutil.Process, role: str) -> list[psutil.Process]:
    """Return the processes of a service that have a role."""
    found = []
    for process in family_of(launcher):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if role_of(" ".join(process.cmdline())) == role:
                found.append(process)
    return found


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds that a process has used, in user mode and in the kernel.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    times = process.cpu_times()
    return float(times.user + times.system)


def role_of(command: str) -> str | None:
    """Return the role of the process with this command line; None for one that takes no part."""
    replica = REPLICA.match(command)
    if replica:
        return replica[1]
    return next((role for mark, role in ROLES if mark in command), None)
