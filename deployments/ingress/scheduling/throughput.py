"""How fast slots become free, from which the wait of a newcomer follows."""

from __future__ import annotations

TURNS = 4
"""The latest frees count, about this many of every slot: batches free slots in bursts, which one turn evens out."""


class Throughput:
    """Exponentially weighted mean time between two frees, measured only while every slot is in use.

    With a slot to spare the pace is set by the demand, not by the service. ``now`` is in seconds and never goes back.

    Attributes:
        foreseen_s: time between two frees to expect before every slot had its turn; None: no idea.
    """

    def __init__(self, slots: int) -> None:
        self.foreseen_s: float | None = None
        self._slots = slots
        self._keep = 1 - 1 / (TURNS * slots + 1)
        self._frees = 0.0
        self._time_s = 0.0
        self._observed = 0
        self._full_since: float | None = None

    @property
    def is_measured(self) -> bool:
        """Every slot had its turn."""
        return self._observed >= self._slots

    def all_in_use(self, now: float) -> None:
        """Note that the last free slot was granted."""
        self._full_since = now

    def freed(self, now: float) -> None:
        """Note that a slot became free."""
        if self._full_since is None:
            return
        self._frees = self._frees * self._keep + 1
        self._time_s = self._time_s * self._keep + now - self._full_since
        self._observed += 1
        self._full_since = None

    def seconds_per_slot(self, now: float) -> float | None:
        """Mean time between two frees. Until every slot had its turn, the turns that lack count as foreseen; None where
        nothing is foreseen, when a guess would be a bad one.

        A service that hangs frees nothing, so the time since the last free counts as soon as it is the longer one.
        """
        lacking = max(0, self._slots - self._observed)
        if lacking and self.foreseen_s is None:
            return None
        frees, time_s = self._frees + lacking, self._time_s + lacking * (self.foreseen_s or 0.0)
        full_s = 0.0 if self._full_since is None else now - self._full_since
        return max(time_s / frees, (time_s + full_s) / (frees + 1))
