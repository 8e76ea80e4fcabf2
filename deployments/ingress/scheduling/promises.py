"""Who was refused and told when to come back, so that the next one is told a later time, and room is left for both."""

from __future__ import annotations

import heapq


class Promises:
    """The times at which refused requests were told to try again. ``now`` is in seconds and never goes back.

    A request that comes back cannot be told from a new one, so whoever comes first once a time has passed uses it up.
    """

    def __init__(self) -> None:
        self._times: list[float] = []
        self._passed = 0

    def add(self, time: float) -> None:
        """Add one that was told to try again at ``time``."""
        heapq.heappush(self._times, time)

    def outstanding(self, now: float) -> int:
        """Return how many were told a time that is still to come."""
        while self._times and self._times[0] <= now:
            heapq.heappop(self._times)
            self._passed += 1
        if not self._times:
            self._passed = 0
        return len(self._times)

    def keep(self, now: float) -> bool:
        """Use up one of the times that have passed; return False where there is none."""
        self.outstanding(now)
        if not self._passed:
            return False
        self._passed -= 1
        return True
