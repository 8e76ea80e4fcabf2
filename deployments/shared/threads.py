"""Threads that do a replica's work, named for the kernel too: `top -H` and a debugger show which one hangs."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from typing import Final

PR_SET_NAME: Final = 15


def named_threads(count: int, name: str) -> ThreadPoolExecutor:
    """Return an executor whose threads have a name in Python and in the kernel, which keeps 15 bytes of it."""
    return ThreadPoolExecutor(count, thread_name_prefix=name, initializer=_name_this_thread, initargs=(name,))


def _name_this_thread(name: str) -> None:
    # prctl(2). Python does it itself from 3.14 on.
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
