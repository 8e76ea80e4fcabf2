"""What crowds and hours met, judged. Nothing here talks to a service."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from deployments.shared.errors import QueueTimeoutError
from loadtests.load.calibration import CLIENTS
from loadtests.load.crowd.clients import HIGH_EVERY, OK, UNREADABLE, WRONG_TEXT, Attempt
from loadtests.load.scenarios.answers import LATE, UNAVAILABLE
from loadtests.load.scenarios.estimates import percentile

DEADLINE_S = 60.0
"""Of a request that names none, as the service has it for short files."""

WITHIN = 0.5
"""A crowd is within the capacity when each of its clients can be answered once in this share of the deadline."""

TOO_LATE = QueueTimeoutError.code
REFUSALS = frozenset({"queue_full", "overloaded", TOO_LATE})
WRONG = frozenset({WRONG_TEXT, UNREADABLE})

GOODPUT, GOODPUT_LIMIT = "answers a second over the capacity", 0.75
FORESEEN, FORESEEN_LIMIT = "refused at once, of what was not answered in time", 0.9
KEPT, KEPT_LIMIT = "got in, of those that came back as told", 0.5
HIGH, HIGH_LIMIT = "latency of high priority, p95, over one turn of its peers", 1.5
SHORT, SHORT_LIMIT = "latency of short files beside them, p95, over a request alone", 6.0
"""A turn of peers is the time in which as many clients as have high priority, or as there are slots, are answered once.
"""


@dataclass(frozen=True)
class Verdict:
    """One criterion, judged; a ``value`` of None could not be measured, which is a failure too."""

    of: str
    criterion: str
    bound: Literal["at most", "at least"]
    limit: float
    value: float | None

    @property
    def passed(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.limit if self.bound == "at most" else self.value >= self.limit


@dataclass(frozen=True)
class Gathering:
    """One crowd.

    Attributes:
        openings: of the service's breakers meanwhile.
    """

    clients: int
    attempts: Sequence[Attempt]
    openings: int

    @property
    def name(self) -> str:
        return f"{self.clients} clients"

    @cached_property
    def answered(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.status == OK]

    @property
    def answers_per_s(self) -> float:
        """Answers a second, from the first request to the last answer."""
        began = min(attempt.began for attempt in self.attempts)
        return len(self.answered) / (max(attempt.began + attempt.seconds for attempt in self.attempts) - began)

    def percentile_s(self, percent: float, priority: str) -> float | None:
        """Seconds of the attempts that were answered."""
        return percentile([one.seconds for one in self.answered if one.priority == priority], percent)


@dataclass(frozen=True)
class Hours:
    """Uploads of ``hour_s`` seconds each: one alone, then several together beside clients with short files.

    Attributes:
        alone: all attempts of the one, the last one last.
        together: the same of each of the others.
        beside: attempts of the clients with short files meanwhile.
        openings: of the service's breakers meanwhile.
    """

    hour_s: float
    alone: Sequence[Attempt]
    together: Sequence[Sequence[Attempt]]
    beside: Sequence[Attempt]
    openings: int

    @property
    def real_times(self) -> float | None:
        """Seconds of audio a second, of the hour alone; None if it was not answered."""
        last = self.alone[-1]
        return self.hour_s / last.seconds if last.status == OK else None


@dataclass(frozen=True)
class Page:
    """Everything one run found; ``request_s``: seconds of a request alone."""

    request_s: float
    gatherings: Sequence[Gathering]
    hours: Hours | None = None

    @property
    def capacity(self) -> float:
        """Answers a second to the crowd that is nearest to 16 clients; at least what one client alone would get."""
        nearest = min(self.gatherings, key=lambda one: abs(one.clients - CLIENTS), default=None)
        return max(nearest.answers_per_s if nearest else 0.0, 1 / self.request_s)

    @property
    def verdicts(self) -> list[Verdict]:
        of_crowds = [verdict for one in self.gatherings for verdict in judge_crowd(one, self.capacity)]
        return of_crowds + (judge_hours(self.hours, self.request_s) if self.hours else [])


def judge_crowd(one: Gathering, capacity: float) -> list[Verdict]:
    """A verdict for each criterion of a crowd, given the capacity in answers a second."""
    peers = max(CLIENTS, math.ceil(one.clients / HIGH_EVERY))
    return [
        *_sound(one.name, one.attempts, one.openings),
        *(_within(one) if one.clients <= WITHIN * DEADLINE_S * capacity else _beyond(one)),
        Verdict(one.name, GOODPUT, "at least", GOODPUT_LIMIT, _over(one.answers_per_s, capacity)),
        Verdict(one.name, HIGH, "at most", HIGH_LIMIT, _over(one.percentile_s(95, "high"), _over(peers, capacity))),
    ]


def judge_hours(hours: Hours, request_s: float) -> list[Verdict]:
    """A verdict for each criterion of the hours, given the seconds of a request alone."""
    name, count = f"{len(hours.together)} x {hours.hour_s:.0f} s", len(hours.together)
    ends = [attempts[-1] for attempts in hours.together]
    everything = [*hours.alone, *itertools.chain(*hours.together), *hours.beside]
    short_s = percentile([attempt.seconds for attempt in hours.beside if attempt.status == OK], 95)
    return [
        *_sound(name, everything, hours.openings),
        Verdict(name, "an hour alone, x real time", "at least", 1, hours.real_times),
        Verdict(name, "hours answered", "at least", count, sum(attempt.status == OK for attempt in ends)),
        Verdict(name, "504", "at most", 0, _count(everything, LATE)),
        Verdict(name, "short files beside them refused", "at most", 0, sum(map(is_refused, hours.beside))),
        Verdict(name, SHORT, "at most", SHORT_LIMIT, _over(short_s, request_s)),
    ]


def is_refused(attempt: Attempt) -> bool:
    """Whether the service said that it has too much to do."""
    return attempt.status == UNAVAILABLE and attempt.code in REFUSALS


def is_late(attempt: Attempt) -> bool:
    """Whether the service let the client in, and then did not answer in time."""
    return attempt.status == LATE or attempt.code == TOO_LATE


def returns(one: Gathering) -> tuple[int, int]:
    """How often a client came back after the time that it was told, and how often it got in then."""
    returned = [attempt for attempt in one.attempts if attempt.returned]
    return len(returned), sum(attempt.status != UNAVAILABLE for attempt in returned)


def _sound(name: str, attempts: Sequence[Attempt], openings: int) -> list[Verdict]:
    """Of every crowd: only the statuses that are allowed, right texts, a closed breaker."""
    allowed = [attempt for attempt in attempts if attempt.status in {OK, LATE} or is_refused(attempt)]
    bare = sum(is_refused(attempt) and attempt.retry_after_s is None for attempt in attempts)
    return [
        Verdict(name, "errors: neither 200, 504 nor refused", "at most", 0, len(attempts) - len(allowed)),
        Verdict(name, "wrong texts", "at most", 0, sum(attempt.code in WRONG for attempt in attempts)),
        Verdict(name, "refusals without Retry-After", "at most", 0, bare),
        Verdict(name, "breaker openings", "at most", 0, openings),
    ]


def _within(one: Gathering) -> list[Verdict]:
    """Within the capacity everybody is answered."""
    return [
        Verdict(one.name, "504, within the capacity", "at most", 0, _count(one.attempts, LATE)),
        Verdict(one.name, "refused, within the capacity", "at most", 0, sum(map(is_refused, one.attempts))),
    ]


def _beyond(one: Gathering) -> list[Verdict]:
    """Beyond it, who is not answered hears so at once, and when to come back."""
    late = sum(map(is_late, one.attempts))
    refused = sum(map(is_refused, one.attempts)) - sum(attempt.code == TOO_LATE for attempt in one.attempts)
    returned, let_in = returns(one)
    foreseen = Verdict(one.name, FORESEEN, "at least", FORESEEN_LIMIT, _share(refused, late))
    kept = Verdict(one.name, KEPT, "at least", KEPT_LIMIT, _over(let_in, returned))
    return [*([foreseen] if foreseen.value is not None else []), *([kept] if returned else [])]


def _count(attempts: Iterable[Attempt], status: int) -> int:
    return sum(attempt.status == status for attempt in attempts)


def _share(part: int, others: int) -> float | None:
    return _over(part, part + others)


def _over(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None
