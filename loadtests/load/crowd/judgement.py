"""Whether crowds and hours met what the service promises. Nothing here talks to a service."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from deployments.shared.errors import OverloadedError, QueueFullError, QueueTimeoutError
from loadtests.common.replies import GATEWAY_TIMEOUT, UNAVAILABLE
from loadtests.load.calibration import CLIENTS
from loadtests.load.crowd.clients import HIGH_EVERY, Visit
from loadtests.load.crowd.results import CrowdResults, Gathering, Hours
from loadtests.load.estimates import percentile

DEADLINE_S = 60.0
"""The deadline of a request that names none, as the service has it for short files."""

WITHIN = 0.5
"""A crowd is within the capacity when each of its clients can be answered once in this share of the deadline."""

TOO_LATE = QueueTimeoutError.code
PROMISED = frozenset({QueueFullError.code, OverloadedError.code, TOO_LATE})
"""The only refusals that a crowd may meet: it is no client with limits, and it does not fill the spool."""

GOODPUT, GOODPUT_LIMIT = "answers per second over the capacity", 0.75
FORESEEN, FORESEEN_LIMIT = "refused at once, of what was not answered in time", 0.9
KEPT, KEPT_LIMIT = "got in, of those that came back as told", 0.5
HIGH, HIGH_LIMIT = "latency of high priority, p95, over one turn of its peers", 1.5
SHORT, SHORT_LIMIT = "latency of short files beside them, p95, over a request alone", 6.0
"""A turn of peers is the time in which as many clients as have high priority, or as there are slots, are answered once.
"""


@dataclass(frozen=True)
class CrowdVerdict:
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


def judge_results(results: CrowdResults) -> list[CrowdVerdict]:
    """Return a verdict for each criterion of each crowd, and of the hours if there were any."""
    of_crowds = [verdict for one in results.gatherings for verdict in judge_crowd(one, results.capacity)]
    return of_crowds + (judge_hours(results.hours, results.request_s) if results.hours else [])


def judge_crowd(one: Gathering, capacity: float) -> list[CrowdVerdict]:
    """Return a verdict for each criterion of a crowd, given the capacity in answers per second."""
    peers = max(CLIENTS, math.ceil(one.clients / HIGH_EVERY))
    high_s = one.percentile_s(95, "high")
    return [
        *_sound(one.name, one.visits, one.openings),
        *(_within(one) if one.clients <= WITHIN * DEADLINE_S * capacity else _beyond(one)),
        CrowdVerdict(one.name, GOODPUT, "at least", GOODPUT_LIMIT, _over(one.answers_per_s, capacity)),
        CrowdVerdict(one.name, HIGH, "at most", HIGH_LIMIT, _over(high_s, _over(peers, capacity))),
    ]


def judge_hours(hours: Hours, request_s: float) -> list[CrowdVerdict]:
    """Return a verdict for each criterion of the hours, given the seconds of a request alone."""
    name, count = f"{len(hours.together)} x {hours.hour_s:.0f} s", len(hours.together)
    answered = sum(visits[-1].reply.text is not None for visits in hours.together)
    everything = [*hours.alone, *itertools.chain(*hours.together), *hours.beside]
    short_s = percentile([visit.seconds for visit in hours.beside if visit.reply.text is not None], 95)
    return [
        *_sound(name, everything, hours.openings),
        CrowdVerdict(name, "an hour alone, x real time", "at least", 1, hours.real_times),
        CrowdVerdict(name, "hours answered", "at least", count, answered),
        CrowdVerdict(name, "504", "at most", 0, _count_timeouts(everything)),
        CrowdVerdict(name, "short files beside them refused", "at most", 0, sum(map(is_refused, hours.beside))),
        CrowdVerdict(name, SHORT, "at most", SHORT_LIMIT, _over(short_s, request_s)),
    ]


def is_refused(visit: Visit) -> bool:
    """Tell whether the service said that it has too much to do."""
    return visit.reply.status == UNAVAILABLE and visit.reply.code in PROMISED


def is_late(visit: Visit) -> bool:
    """Tell whether the service let the client in, and then did not answer in time."""
    return visit.reply.outcome == "late"


def returns(one: Gathering) -> tuple[int, int]:
    """Count how often a client came back after the time that it was told, and how often it got in then."""
    returned = [visit for visit in one.visits if visit.returned]
    return len(returned), sum(visit.reply.status != UNAVAILABLE for visit in returned)


def _sound(name: str, visits: Sequence[Visit], openings: int) -> list[CrowdVerdict]:
    """Judge what holds for every crowd: only the answers that are allowed, right texts, a closed breaker."""
    bare = sum(is_refused(visit) and visit.reply.retry_after_s is None for visit in visits)
    wrong = sum(visit.reply.outcome in {"wrong", "malformed"} for visit in visits)
    return [
        CrowdVerdict(
            name, "errors: neither 200, 504 nor refused", "at most", 0, sum(not _is_allowed(visit) for visit in visits)
        ),
        CrowdVerdict(name, "wrong texts", "at most", 0, wrong),
        CrowdVerdict(name, "refusals without Retry-After", "at most", 0, bare),
        CrowdVerdict(name, "breaker openings", "at most", 0, openings),
    ]


def _is_allowed(visit: Visit) -> bool:
    """Tell whether an answer is no error; texts that are wrong have a criterion of their own."""
    return visit.reply.outcome in {"right", "wrong", "malformed"} or is_refused(visit) or _is_timeout(visit)


def _is_timeout(visit: Visit) -> bool:
    return visit.reply.outcome == "late" and visit.reply.status == GATEWAY_TIMEOUT


def _within(one: Gathering) -> list[CrowdVerdict]:
    """Judge a crowd within the capacity, in which everybody is answered."""
    return [
        CrowdVerdict(one.name, "504, within the capacity", "at most", 0, _count_timeouts(one.visits)),
        CrowdVerdict(one.name, "refused, within the capacity", "at most", 0, sum(map(is_refused, one.visits))),
    ]


def _beyond(one: Gathering) -> list[CrowdVerdict]:
    """Judge a crowd beyond it: who is not answered hears so at once, and when to come back."""
    late = sum(map(is_late, one.visits))
    refused = sum(is_refused(visit) and not is_late(visit) for visit in one.visits)
    returned, let_in = returns(one)
    foreseen = CrowdVerdict(one.name, FORESEEN, "at least", FORESEEN_LIMIT, _over(refused, refused + late))
    kept = CrowdVerdict(one.name, KEPT, "at least", KEPT_LIMIT, _over(let_in, returned))
    return [*([foreseen] if foreseen.value is not None else []), *([kept] if returned else [])]


def _count_timeouts(visits: Iterable[Visit]) -> int:
    return sum(map(_is_timeout, visits))


def _over(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None
