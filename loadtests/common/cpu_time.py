"""CPU seconds by role, over all processes of the service and of the load generator."""

from __future__ import annotations

import re
from collections import Counter

import psutil

_REPLICA = re.compile(r"ray::ServeReplica:[\w-]+:(\w+)")
_ROLES = (
    ("haproxy", "HAProxy"),
    ("ray::HAProxyManager", "HAProxy manager"),
    ("ray::ProxyActor", "Serve proxy"),
    ("ray::ServeController", "Serve controller"),
    ("raylet", "Ray"),
    ("gcs_server", "Ray"),
    ("dashboard", "Ray"),
    ("ray::", "Ray"),
    ("whisper-server", "whisper.cpp"),
    ("loadtests", "load generator"),
)


def by_role() -> Counter[str]:
    """CPU seconds used so far, summed by role; other processes of the machine are left out."""
    used: Counter[str] = Counter()
    for process in psutil.process_iter(["cmdline", "cpu_times"]):
        role = role_of(" ".join(process.info["cmdline"] or []))
        times = process.info["cpu_times"]
        if role is not None and times is not None:
            used[role] += times.user + times.system
    return used


def role_of(command: str) -> str | None:
    """The role of the process with this command line; None for one that takes no part."""
    replica = _REPLICA.match(command)
    if replica:
        return replica[1]
    return next((role for mark, role in _ROLES if mark in command), None)
