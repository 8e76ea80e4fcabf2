"""How processes share the cores: the stages give way to the ingress and to Serve's proxy, and others to the stages."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

STAGE_NICENESS = 10
"""Niceness of the stages that compute. The ingress and the proxy, at 0, get a core as soon as they need one, so a
request is refused in milliseconds while every core computes; they need little, and the stages get all the rest."""

BACKGROUND_NICENESS = 15
"""Niceness of what runs beside the graph: it gets a third of what a stage gets while both compute."""


def give_way_to_ingress(niceness: int = STAGE_NICENESS) -> None:
    """Lower the CPU priority of this process, if it is higher: for its threads and for those that they will start.

    Call it before anything computes. On Linux each thread has a niceness of its own, which new threads inherit.
    """
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):
            number = int(thread.name)
            lowered = max(niceness, os.getpriority(os.PRIO_PROCESS, number))
            os.setpriority(os.PRIO_PROCESS, number, lowered)
