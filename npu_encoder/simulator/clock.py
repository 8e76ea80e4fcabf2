"""Time as the simulated device sees it: real, or moved by hand so that tests of seconds take none."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from npu_encoder.clock import Clock


class PolledClock(Clock, Protocol):
    """A clock on which polling takes time too. Safe to share between threads."""

    def poll(self) -> None:
        """Let the time pass that a program needs to ask for the state of a run."""
        ...


class RealClock:
    """The machine's clock. Sleeping releases the GIL."""

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        if seconds > 0:
            time.sleep(seconds)

    def poll(self) -> None:
        """Do nothing: on this clock the call itself takes its time."""


class VirtualClock:
    """A clock that moves only when somebody sleeps on it, polls or calls ``advance``.

    Args:
        poll_s: seconds that one poll takes; above zero, so that a loop that polls ends.
    """

    def __init__(self, *, poll_s: float = 1e-4) -> None:
        self._poll_s = poll_s
        self._now = 0.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float, /) -> None:
        self.advance(max(seconds, 0.0))

    def poll(self) -> None:
        self.advance(self._poll_s)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        with self._lock:
            self._now += seconds
