"""What a replica knows of itself, and how it shares the cores with the others."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ray import serve

STAGE_NICENESS = 10
"""Of stages that compute. The ingress and the proxy, at 0, get a core as soon as they need it, so that a request is
refused in milliseconds while every core computes; they need little, and the stages get all the rest."""


def replica_name() -> str:
    """Serve's id of this replica, unique in the application."""
    return str(serve.get_replica_context().replica_id.unique_id)


def give_way_to_ingress() -> None:
    """Lowers the CPU priority of this process, if it is higher: of its threads and of those that they will start.

    Call it before anything computes. On Linux each thread has a niceness of its own, which new threads inherit.
    """
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            number = int(thread.name)
            niceness = max(STAGE_NICENESS, os.getpriority(os.PRIO_PROCESS, number))
            os.setpriority(os.PRIO_PROCESS, number, niceness)
