"""How each phase of a scenario went, and whether a step of a ramp was served as it should be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtests.load.estimates import percentile
from loadtests.load.scenarios.plan import StepLimit
from loadtests.load.scenarios.recording import Recording, RequestRow


@dataclass(frozen=True)
class PlayedPhase:
    """One phase as it went. Rates in requests per second; a percentile of nothing is None.

    Attributes:
        held: whether it kept the limit of a ramp's step; true where there is none.
    """

    name: str
    offered: float
    answered: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    unanswered: int
    held: bool


def played_phases(recording: Recording) -> list[PlayedPhase]:
    """Return every phase that took place."""
    limit, found = recording.scenario.step_limit, []
    for plan in recording.scenario.phases:
        requests = requests_of_phase(recording, plan.name)
        if not requests:
            continue
        times, until = answered_ms(requests), requests[0].due + plan.seconds
        in_time = sum(request.outcome == "right" and request.ended <= until for request in requests)
        p50, p95, p99 = (percentile(times, percent) for percent in (50, 95, 99))
        unanswered = _count_unanswered(requests)
        held = limit is None or holds(requests, limit, recording.calibration.request_s)
        found.append(PlayedPhase(plan.name, plan.rate, in_time / plan.seconds, p50, p95, p99, unanswered, held))
    return found


def holds(requests: Sequence[RequestRow], limit: StepLimit, request_s: float) -> bool:
    """Tell whether a step of a ramp was served as it should be; ``request_s``: seconds of a request alone."""
    p95 = percentile(answered_ms(requests), 95)
    in_time = p95 is not None and p95 <= 1000 * request_s * limit.p95_ratio
    return in_time and _count_unanswered(requests) <= limit.unanswered


def answered_ms(requests: Iterable[RequestRow]) -> list[float]:
    """Return the milliseconds to every right answer."""
    return [1000 * request.seconds for request in requests if request.outcome == "right"]


def requests_of_phase(recording: Recording, name: str) -> list[RequestRow]:
    """Return the requests that were due in a phase."""
    return [request for request in recording.requests if request.phase == name]


def _count_unanswered(requests: Iterable[RequestRow]) -> int:
    return sum(request.outcome not in {"right", "hung up"} for request in requests)
