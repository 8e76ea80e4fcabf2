"""What crowds and hours met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from loadtests.load.calibration import CLIENTS
from loadtests.load.crowd.clients import Visit
from loadtests.load.estimates import percentile


@dataclass(frozen=True)
class Gathering:
    """One crowd.

    Attributes:
        openings: how often the service's breakers opened meanwhile.
    """

    clients: int
    visits: Sequence[Visit]
    openings: int

    @property
    def name(self) -> str:
        return f"{self.clients} clients"

    @cached_property
    def answered(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.reply.text is not None]

    @property
    def answers_per_s(self) -> float:
        """Answers per second, from the first request to the last answer."""
        began = min(visit.began for visit in self.visits)
        return len(self.answered) / (max(visit.began + visit.seconds for visit in self.visits) - began)

    def percentile_s(self, percent: float, priority: str) -> float | None:
        """Return a percentile of the seconds of the visits that were answered."""
        return percentile([one.seconds for one in self.answered if one.priority == priority], percent)


@dataclass(frozen=True)
class Hours:
    """Uploads of ``hour_s`` seconds each: one alone, then several together beside clients with short files.

    Attributes:
        alone: all visits of the one, the last one last.
        together: the same of each of the others.
        beside: visits of the clients with short files meanwhile.
        openings: how often the service's breakers opened meanwhile.
    """

    hour_s: float
    alone: Sequence[Visit]
    together: Sequence[Sequence[Visit]]
    beside: Sequence[Visit]
    openings: int

    @property
    def real_times(self) -> float | None:
        """Seconds of audio per second, of the hour alone; None if it was not answered."""
        last = self.alone[-1]
        return self.hour_s / last.seconds if last.reply.text is not None else None


@dataclass(frozen=True)
class CrowdResults:
    """Everything one run found; ``request_s``: seconds of a request alone."""

    request_s: float
    gatherings: Sequence[Gathering]
    hours: Hours | None = None

    @property
    def capacity(self) -> float:
        """Answers per second to the crowd that is nearest to 16 clients; at least what one client alone would get."""
        nearest = min(self.gatherings, key=lambda one: abs(one.clients - CLIENTS), default=None)
        return max(nearest.answers_per_s if nearest else 0.0, 1 / self.request_s)
