"""How often slots are asked for, from which it can be foreseen how often those who wait will be overtaken."""

from __future__ import annotations

import math


class ArrivalRate:
    """Exponentially weighted number of arrivals a second. ``now`` is in seconds and never goes back.

    Arrivals count for about ``memory_s``, which may change slowly.
    """

    def __init__(self) -> None:
        self._count = 0.0
        self._counted_at = 0.0

    def arrived(self, now: float, memory_s: float) -> None:
        """Count one more."""
        self._fade(now, memory_s)
        self._count += 1

    def per_second(self, now: float, memory_s: float) -> float:
        """Return the mean rate over the latest ``memory_s`` seconds."""
        self._fade(now, memory_s)
        return self._count / memory_s

    def _fade(self, now: float, memory_s: float) -> None:
        self._count *= math.exp((self._counted_at - now) / memory_s)
        self._counted_at = now
