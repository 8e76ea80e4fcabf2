"""How long a newcomer would wait for a slot, and then hold it: from what is ahead, what will overtake, and the pace."""

from __future__ import annotations

from deployments.scheduling.arrivals import ArrivalRate
from deployments.scheduling.throughput import TURNS, Throughput

SHORTEST_MEMORY_S = 3.0
"""Of arrivals: enough of them for a steady rate, few enough to follow a rise. A service that is slow remembers longer,
for as many turns of its slots as its pace is measured over: there one arrival in 3 s would look like a flood."""


class Forecast:
    """``now`` is in seconds and never goes back; level 0 is served first, as in ``AgeingQueue``.

    Until ageing has lifted it to the top, a waiter of level n is served only with what the levels above leave: while it
    stands in level m, with the slots freed a second less the arrivals of the levels above m.

    Args:
        slots: that are granted.
        levels: of priority.
        ageing_s: waiting time that lifts by one level.
    """

    def __init__(self, slots: int, levels: int, ageing_s: float) -> None:
        self.throughput = Throughput(slots)
        self._slots = slots
        self._ageing_s = ageing_s
        self._arrivals = [ArrivalRate() for _ in range(levels)]

    def asked(self, level: int, now: float) -> None:
        """A slot was asked for."""
        self._arrivals[level].arrived(now, self._memory_s(now))

    def hold_s(self, now: float) -> float:
        """How long a slot is held (Little's law: all slots times the pace); 0 as long as the pace is not known."""
        return self._slots * self._seconds_per_slot(now)

    def wait_s(self, level: int, ahead: int, now: float) -> float:
        """Until a slot is free for who comes to ``level`` now, behind ``ahead`` others; 0 while the pace is unknown."""
        seconds_per_slot = self._seconds_per_slot(now)
        if not seconds_per_slot:
            return 0.0
        memory_s, left, waited_s = self._memory_s(now), float(ahead + 1), 0.0
        for standing_in in range(level, 0, -1):
            overtaking = sum(rate.per_second(now, memory_s) for rate in self._arrivals[:standing_in])
            served_per_s = max(0.0, 1 / seconds_per_slot - overtaking)
            if left <= served_per_s * self._ageing_s:
                return waited_s + left / served_per_s
            left -= served_per_s * self._ageing_s
            waited_s += self._ageing_s
        return waited_s + left * seconds_per_slot

    def _memory_s(self, now: float) -> float:
        return max(SHORTEST_MEMORY_S, TURNS * self.hold_s(now))

    def _seconds_per_slot(self, now: float) -> float:
        return self.throughput.seconds_per_slot(now) or 0.0
