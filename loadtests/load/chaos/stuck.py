"""A native call that never returns: one thread of a replica is stopped, all its other threads go on.

The thread is traced (ptrace(2)) by a process of its own and never let go. So the replica's event loop answers, and only
the work of that thread stands still, as when a library waits for a device that is gone.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import psutil

PTRACE_CONT, PTRACE_SEIZE, PTRACE_INTERRUPT = 7, 0x4206, 0x4207
WALL: Final = 0x40000000

THREADS: Final = {"MelPreprocessor": "mel", "Encoder": "encoder", "Decoder": "decoder"}
"""Kind of replica -> how the names of the threads begin that do its work."""

SAMPLE_S = 0.005
LOOK_S = 0.3
BUSY_NS = 200_000
"""Nanoseconds of CPU time in one sample by which a thread is known to be at work."""

TRIES_S = 60.0
WAITS = 40
"""So often in ``LOOK_S`` a thread wakes up that waits for Python's lock: every 5 ms."""


def stick(process: psutil.Process, kind: str) -> subprocess.Popen[bytes]:
    """Stop the thread that does a replica's work for good; return what holds it, which ends with the replica.

    Raises:
        LookupError: the replica has no such thread.
    """
    for thread in process.threads():
        if _name(process.pid, thread.id).startswith(THREADS[kind]):
            return subprocess.Popen([sys.executable, "-m", __name__, str(process.pid), str(thread.id)])
    raise LookupError(f"process {process.pid} has no thread {THREADS[kind]}")


def hold(process: int, thread: int) -> None:
    """Stop a thread in the middle of its work, until its process has ended.

    A thread that is stopped while it runs Python holds the lock that all others wait for; one that waits in the kernel
    may have no work any more. Either is let go, and stopped again when it is elsewhere.

    Raises:
        TimeoutError: that did not succeed in ``TRIES_S``.
        OSError: the thread cannot be traced.
    """
    until = time.monotonic() + TRIES_S
    _wait_for_work(process, thread, until)
    _ptrace(PTRACE_SEIZE, thread)
    while True:
        _ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, WALL)
        if _computes(process, thread) and not _others_wait(process, thread):
            break
        _ptrace(PTRACE_CONT, thread)
        _wait_for_work(process, thread, until)
    while psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        time.sleep(LOOK_S)


def _wait_for_work(process: int, thread: int, until: float) -> None:
    before = _cpu_ns(process, thread)
    while time.monotonic() < until:
        time.sleep(SAMPLE_S)
        now = _cpu_ns(process, thread)
        if now - before > BUSY_NS:
            return
        before = now
    raise TimeoutError(f"thread {thread} was never stopped at work")


def _computes(process: int, thread: int) -> bool:
    """Tell whether a stopped thread was outside of the kernel: then there is no number of a system call (proc(5))."""
    return _read(process, thread, "syscall").startswith("-1")


def _others_wait(process: int, stopped: int) -> bool:
    """Tell whether another thread waits for the stopped one: it wakes up again and again, and does nothing."""
    others = [int(path.name) for path in Path(f"/proc/{process}/task").iterdir() if int(path.name) != stopped]
    before = {thread: (_switches(process, thread), _cpu_ns(process, thread)) for thread in others}
    time.sleep(LOOK_S)
    return any(
        _switches(process, thread) - switches >= WAITS and _cpu_ns(process, thread) - cpu_ns < WAITS * BUSY_NS
        for thread, (switches, cpu_ns) in before.items()
    )


def _switches(process: int, thread: int) -> int:
    status = _read(process, thread, "status")
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("voluntary_ctxt_switches"))


def _cpu_ns(process: int, thread: int) -> int:
    return int((_read(process, thread, "schedstat") or "0").split()[0])


def _name(process: int, thread: int) -> str:
    return _read(process, thread, "comm").strip()


def _read(process: int, thread: int, file: str) -> str:
    try:
        return Path(f"/proc/{process}/task/{thread}/{file}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _ptrace(request: int, thread: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(request, thread, None, None) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace({request:#x}) of thread {thread}")


if __name__ == "__main__":
    hold(int(sys.argv[1]), int(sys.argv[2]))
