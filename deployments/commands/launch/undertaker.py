"""Ends a service whose keeper was killed: ``python -m deployments.commands.launch.undertaker PID DIRECTORY...``.

A process of its own, because the one that serves is a client of the Ray that is being ended, which may end it at any
moment, before its work is done.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from deployments.commands.launch.family import end_descendants
from deployments.ingress.shared_directory import remove_stale


def bury(process: int, places: Iterable[Path]) -> None:
    """End a process and all that descend from it, and remove what they leave.

    Args:
        process: the one that serves; this process is its child.
        places: directories in which the service has directories of its own.
    """
    os.kill(process, signal.SIGSTOP)  # it goes on adopting orphans, and does nothing else
    end_descendants(process)
    os.kill(process, signal.SIGKILL)
    while os.getppid() == process:  # it holds the lock of its directory until it has ended
        os.sched_yield()
    for place in places:
        remove_stale(place)


if __name__ == "__main__":
    bury(int(sys.argv[1]), map(Path, sys.argv[2:]))
