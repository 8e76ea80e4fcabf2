"""All processes of a service, those too whose parents are gone."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import psutil

PR_SET_CHILD_SUBREAPER: Final = 36
END_S: Final = 10.0
WAIT_S: Final = 0.5


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none is out of sight (prctl(2)).

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def end_descendants(ancestor: int | None = None, *, patience_s: float = 0.0) -> None:
    """End every process that descends from one, but this process.

    Args:
        ancestor: the number of the process; None: this one.
        patience_s: time for those that are ending by themselves.
    """
    if patience_s:
        psutil.wait_procs(_descendants(ancestor), patience_s)
    until = time.monotonic() + END_S
    # One that is just being started is seen in the next look.
    while (left := _descendants(ancestor)) and time.monotonic() < until:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, WAIT_S)
        reap_orphans()


def reap_orphans() -> None:
    """Let children that have ended, adopted ones too, leave the table of processes."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _descendants(ancestor: int | None) -> Sequence[psutil.Process]:
    return [process for process in psutil.Process(ancestor).children(recursive=True) if _counts(process)]


def _counts(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE)
    return False
