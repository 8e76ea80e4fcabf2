"""Threads that do a replica's work: watched, and named for the kernel too, so that `top -H` shows which one hangs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from deployments.shared.watchdog import ProgressWatch

PR_SET_NAME: Final = 15

P = ParamSpec("P")
T = TypeVar("T")


class WatchedThreads(ThreadPoolExecutor):
    """An executor whose threads are watched from the moment when they are given work.

    The work itself reports its steps to the same watch. A thread that hangs where no work is under way, as in a
    library's own clean-up, never begins the next one, and only that shows it.

    Args:
        count: of the threads.
        name: of each, in Python and in the kernel, which keeps 15 bytes of it.
        watch: over the replica's work.
    """

    def __init__(self, count: int, name: str, watch: ProgressWatch) -> None:
        super().__init__(count, thread_name_prefix=name, initializer=_name_this_thread, initargs=(name,))
        self._watch = watch

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let a thread run ``fn``; until one does, the watch counts the seconds as without progress."""
        waiting = self._watch.begin()

        def run() -> T:
            self._watch.end(waiting)
            return fn(*args, **kwargs)

        future = super().submit(run)
        future.add_done_callback(lambda _: self._watch.end(waiting))  # one that is cancelled never begins
        return future


def _name_this_thread(name: str) -> None:
    # prctl(2). Python does it itself from 3.14 on.
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
