"""What the clients and this machine saw: in the turns of one node and two, and when a node died."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from loadtests.load.cluster.clients import Visit


@dataclass(frozen=True)
class Turn:
    """One closed loop on a service that nothing happens to.

    Attributes:
        nodes: how many Ray nodes the service has.
        seconds: how long it lasted.
        cpu_s: CPU seconds of all processes of the service, by role.
    """

    nodes: int
    seconds: float
    visits: Sequence[Visit]
    cpu_s: Mapping[str, float]

    @property
    def requests_per_s(self) -> float:
        return len(self.visits) / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per request."""
        return 1000 * sum(self.cpu_s.values()) / len(self.visits)

    def role_ms(self, role: str) -> float:
        """CPU milliseconds per request of the processes with a role."""
        return 1000 * self.cpu_s.get(role, 0.0) / len(self.visits)

    def percentile_ms(self, percent: float) -> float:
        return 1000 * float(np.percentile([visit.seconds for visit in self.visits], percent))


@dataclass(frozen=True)
class Death:
    """One closed loop in which the second node died.

    Attributes:
        how: what was done to the node.
        began, died, ended: of the loop and of the node, in seconds on the monotonic clock.
        on_it: the replicas that it had, by deployment.
        replicas: those on the head when the loop had ended.
        repeated: calls that the service made again by itself, by stage.
        health: what ``/health`` said when the loop had ended.
    """

    how: str
    began: float
    died: float
    ended: float
    visits: Sequence[Visit]
    on_it: Counter[str]
    replicas: Counter[str]
    repeated: Counter[str]
    health: str

    @property
    def silence_s(self) -> float:
        """The longest time without an answer since the death, in seconds."""
        moments = [self.died, *(visit.ended for visit in self.visits if visit.ended > self.died)]
        return max((later - earlier for earlier, later in pairwise(sorted(moments))), default=0.0)

    @property
    def hit_s(self) -> float:
        """Seconds from the death until the last request that was under way then had its answer."""
        under_way = [visit.ended for visit in self.visits if visit.began <= self.died < visit.ended]
        return max(under_way, default=self.died) - self.died

    @property
    def trouble_s(self) -> float:
        """Seconds from the death until the last answer that took longer than any before the death; 0 if none did."""
        usual = max(visit.seconds for visit in self.visits if visit.ended <= self.died)
        slow = [visit.ended for visit in self.visits if visit.ended > self.died and visit.seconds > usual]
        return max(slow, default=self.died) - self.died

    def answered(self, step_s: float) -> list[int]:
        """Count the answers in each ``step_s`` since the death."""
        steps = int((self.ended - self.died) / step_s)
        edges = [self.died + step_s * number for number in range(steps + 1)]
        return [int(count) for count in np.histogram([visit.ended for visit in self.visits], edges)[0]]
