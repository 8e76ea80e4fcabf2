"""How long a newcomer would wait for its slots, and then hold them: from what is ahead, what will overtake, and the
pace."""

from __future__ import annotations

from deployments.ingress.scheduling.arrivals import ArrivalRate
from deployments.ingress.scheduling.throughput import TURNS, Throughput

SHORTEST_MEMORY_S = 3.0
"""Arrivals of so many seconds count: enough for a steady rate, few enough to follow a rise. A service that is slow
remembers longer, for as many turns of its slots as its pace is measured over: there one arrival in 3 s would look like
a flood."""

LATEST_REQUESTS = 32
"""The mean length of a turn is taken over about so many requests."""

BESIDE_OTHERS = 1.5
"""A cautious guess: a window takes the encoder so much longer while the other stages work on the same cores than at
warm-up, when it is alone. It counts only until the pace is known from requests."""

IN_FLIGHT_S = 10.0
LEAST_IN_FLIGHT = 2
"""Windows in flight are at most the work of so many seconds, but enough to keep the slowest stage busy. What waits in
the queue instead loses nothing by it, and can be overtaken by higher priorities and refused in time."""

AGEING_WINDOWS = 40
MOST_AGEING_S = 40.0
"""Waiting lifts no earlier than so many windows can be served, or so many seconds. Where a queue takes longer to serve
than it takes to age, everybody who waits would have the highest priority. Beyond that time few who wait can still be
answered."""


class Forecast:
    """``now`` is in seconds and never goes back; level 0 is served first, as in ``AgeingQueue``.

    Until ageing has lifted it to the top, a waiter of level n is served only with what the levels above leave: while it
    stands in level m, with the slots freed a second less the arrivals of the levels above m.

    Args:
        slots: that are granted.
        levels: of priority.
        ageing_s: waiting time that lifts by one level, where the service is fast.

    Attributes:
        window_s: the least time this machine needs per window of full length; 0 as long as it is not known.
        turn: mean number of windows that a request gets slots for before it goes to the end of the queue.
    """

    def __init__(self, slots: int, levels: int, ageing_s: float) -> None:
        self.throughput = Throughput(slots)
        self.window_s = 0.0
        self.turn = 1.0
        self._slots = slots
        self._begun = 0
        self._ageing_s = ageing_s
        self._arrivals = [ArrivalRate() for _ in range(levels)]

    def foresee(self, window_s: float) -> None:
        """Take note that the encoder alone needs ``window_s`` seconds per window."""
        self.window_s = window_s
        self.throughput.foreseen_s = BESIDE_OTHERS * window_s

    def began(self, turn: int) -> None:
        """Take note that a request needs slots for ``turn`` windows before it goes to the end of the queue."""
        self._begun = min(self._begun + 1, LATEST_REQUESTS)
        self.turn += (turn - self.turn) / self._begun

    def asked(self, level: int, now: float) -> None:
        """Take note that a slot was asked for."""
        self._arrivals[level].arrived(now, self._memory_s(now))

    def hold_s(self, now: float) -> float:
        """Return how long a slot is held: slots in flight times the pace (Little's law); 0 while it is unknown."""
        return self.in_flight(now) * self._seconds_per_slot(now)

    def ageing_s(self, now: float) -> float:
        """Return the waiting time that is to lift by one level."""
        return max(self._ageing_s, min(AGEING_WINDOWS * self._seconds_per_slot(now), MOST_AGEING_S))

    def in_flight(self, now: float) -> int:
        """Return how many slots are to be granted at a time."""
        pace = self._seconds_per_slot(now)
        most = max(LEAST_IN_FLIGHT, int(IN_FLIGHT_S / pace)) if pace else self._slots
        return min(self._slots, most)

    def answer_s(self, now: float) -> float:
        """Return how long a newcomer takes from its first slot to its answer; 0 while the pace is unknown.

        The windows after the first pass the stages together, behind it.
        """
        return min(self.turn, 2.0) * self.hold_s(now)

    def wait_s(self, level: int, ahead: float, now: float) -> float:
        """Return how long who comes to ``level`` now, behind ``ahead`` windows, waits; 0 while the pace is unknown."""
        seconds_per_slot = self._seconds_per_slot(now)
        if not seconds_per_slot:
            return 0.0
        memory_s, ageing_s = self._memory_s(now), self.ageing_s(now)
        left, waited_s = ahead + 1.0, 0.0
        for standing_in in range(level, 0, -1):
            overtaking = sum(rate.per_second(now, memory_s) for rate in self._arrivals[:standing_in])
            served_per_s = max(0.0, 1 / seconds_per_slot - overtaking)
            if left <= served_per_s * ageing_s:
                return waited_s + left / served_per_s
            left -= served_per_s * ageing_s
            waited_s += ageing_s
        return waited_s + left * seconds_per_slot

    def rest_s(self, ahead: float, windows: int, now: float) -> float:
        """Return how long ``windows`` more windows of a request that has begun take, behind ``ahead`` others."""
        measured = self._seconds_per_slot(now) if self.throughput.is_measured else 0.0
        return ahead * self._seconds_per_slot(now) + windows * max(measured, self.window_s)

    def _memory_s(self, now: float) -> float:
        return max(SHORTEST_MEMORY_S, TURNS * self.hold_s(now))

    def _seconds_per_slot(self, now: float) -> float:
        return self.throughput.seconds_per_slot(now) or 0.0
