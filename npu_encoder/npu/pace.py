"""Foretells the end of a run from the runs before it: each poll costs CPU time, so none should come too early."""

from __future__ import annotations

import math

from npu_encoder.clock import Clock
from npu_encoder.npu.kernels import Kernel

NEARLY = 0.95
"""Share of the expected duration after which it pays to poll."""

GROWTH = 1.25
"""Factor by which a run may lengthen what is expected of the next."""


class Pace:
    """How long the runs of each kernel take on one hardware context, where they take turns."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._durations: dict[Kernel, float] = {}
        self._last_end = -math.inf

    def learn(self, kernel: Kernel, started: float) -> None:
        """Note that a run has ended now. One whose end was noticed late seems long, so durations grow slowly."""
        now = self._clock.monotonic()
        took = now - max(started, self._last_end)
        self._durations[kernel] = min(took, GROWTH * self._durations.get(kernel, took))
        self._last_end = now

    def nearly_due_s(self, kernel: Kernel, started: float) -> float:
        """Return the seconds until a run is nearly as old as the last one of its kernel became."""
        begun = max(started, self._last_end)
        return begun + NEARLY * self._durations.get(kernel, 0.0) - self._clock.monotonic()
