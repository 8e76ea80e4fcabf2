"""The figures of a recording, and whether they stay within the criteria. Nothing here talks to a service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from loadtests.common.cpu_time import LOAD_GENERATOR
from loadtests.common.replies import FAILED
from loadtests.load.estimates import percentile, slope
from loadtests.load.scenarios.counters import QUEUE_WAIT, batch_size, cores_used, growth, memory_series, queue_wait_ms
from loadtests.load.scenarios.phases import answered_ms, played_phases, requests_of_phase
from loadtests.load.scenarios.plan import Criterion
from loadtests.load.scenarios.recording import SAMPLER, Recording, RequestRow, Snapshot, Verdict

GRACE_S = 0.5
"""An answer may arrive this much after the deadline: it has a way back, and the generator shares the machine."""

HOUR_S = 3600.0
ANSWERED = frozenset({"right", "wrong"})
WAITS, WAITED = f"{QUEUE_WAIT}_count", "amanuensis_slot_waits_total"


@dataclass(frozen=True)
class Figure:
    """One number that a recording gives.

    Attributes:
        label: what it is, for readers.
        unit: empty for a count.
        compute: gives None where there is nothing to compute it from.
    """

    label: str
    unit: str
    compute: Callable[[Recording], float | None]


def judge_recording(recording: Recording) -> list[Verdict]:
    """Return a verdict for each criterion of the scenario."""
    return [_judge(criterion, recording) for criterion in recording.scenario.criteria]


def _judge(criterion: Criterion, recording: Recording) -> Verdict:
    value = FIGURES[criterion.figure].compute(recording)
    passed = value is not None and (
        value <= criterion.limit if criterion.bound == "at most" else value >= criterion.limit
    )
    return Verdict(criterion.figure, criterion.bound, criterion.limit, value, passed)


def _held(recording: Recording) -> list[RequestRow]:
    """Return the requests that figures of the generator are about; a ramp's steps count if they were served."""
    held = {phase.name for phase in played_phases(recording) if phase.held}
    return [request for request in recording.requests if request.phase in held]


def _late_p99_ms(recording: Recording) -> float | None:
    return percentile([1000 * (request.began - request.due) for request in _held(recording)], 99)


def _offered_ratio(recording: Recording) -> float | None:
    """Return the rate that was offered over the planned one, in the phase where that is least."""
    rates = {plan.name: plan.rate for plan in recording.scenario.phases}
    ratios = []
    for name, group in groupby(_held(recording), key=lambda request: request.phase):
        began = sorted(request.began for request in group)
        if began[-1] > began[0]:
            ratios.append((len(began) - 1) / (began[-1] - began[0]) / rates[name])
    return min(ratios, default=None)


def _count(*outcomes: str) -> Callable[[Recording], float | None]:
    return lambda recording: sum(request.outcome in outcomes for request in recording.requests)


def _percentile_ms(percent: float, choose: Callable[[Recording], Sequence[RequestRow]]) -> Callable[..., float | None]:
    return lambda recording: percentile(answered_ms(choose(recording)), percent)


def _alone(percent: float, choose: Callable[[Recording], Sequence[RequestRow]]) -> Callable[..., float | None]:
    """Make the figure of a percentile of latencies in multiples of what a request takes alone."""

    def compute(recording: Recording) -> float | None:
        found = percentile(answered_ms(choose(recording)), percent)
        return None if found is None else found / (1000 * recording.calibration.request_s)

    return compute


def _all(recording: Recording) -> Sequence[RequestRow]:
    return recording.requests


def _last(recording: Recording) -> Sequence[RequestRow]:
    """Return the second half of the last phase: what came before has been worked off by then."""
    requests = requests_of_phase(recording, recording.scenario.phases[-1].name)
    return requests[len(requests) // 2 :]


def _of_size(size: str) -> Callable[[Recording], Sequence[RequestRow]]:
    return lambda recording: [request for request in recording.requests if request.size == size]


def _over_deadline(recording: Recording) -> float:
    allowed = recording.scenario.deadline_s + GRACE_S
    return sum(
        request.outcome == "late" or (request.outcome in ANSWERED and request.seconds > allowed)
        for request in recording.requests
    )


def _foreseen_ratio(recording: Recording) -> float | None:
    """Return the share of those that heard so at once among the requests that could not be answered in time."""
    refused = sum(request.outcome == "refused" for request in recording.requests)
    unanswered = refused + _over_deadline(recording)
    return refused / unanswered if unanswered else None


def _without_retry_after(recording: Recording) -> float:
    return sum(request.outcome == "refused" and request.retry_after_s is None for request in recording.requests)


def _capacity(recording: Recording) -> float | None:
    return max((phase.offered for phase in played_phases(recording) if phase.held), default=None)


def _served_ratio(recording: Recording) -> float | None:
    served = _capacity(recording)
    return None if served is None else served / recording.calibration.capacity


def _goodput_ratio(recording: Recording) -> float | None:
    """Return the answers per second in the busiest phase, over the capacity."""
    busiest = max(recording.scenario.phases, key=lambda plan: plan.rate)
    played = next((phase for phase in played_phases(recording) if phase.name == busiest.name), None)
    return played.answered / recording.calibration.capacity if played else None


def _last_refused(recording: Recording) -> float:
    return sum(request.outcome == "refused" for request in _last(recording))


def _left_over(recording: Recording) -> float:
    rest = recording.rest
    return rest.queue + rest.slots + rest.pending + (not rest.healthy)


def _refusal_p50_ms(recording: Recording) -> float | None:
    return percentile([1000 * request.seconds for request in recording.requests if request.outcome == "refused"], 50)


def _memory_slope(bound: str) -> Callable[[Recording], float | None]:
    def compute(recording: Recording) -> float | None:
        trend = slope(*memory_series(recording))
        return HOUR_S * float(getattr(trend, bound)) if trend else None

    return compute


def _ends(recording: Recording) -> tuple[Snapshot, Snapshot]:
    return recording.snapshots[0], recording.snapshots[-1]


def _queue_wait(percent: float) -> Callable[[Recording], float | None]:
    return lambda recording: queue_wait_ms(*_ends(recording), percent) if recording.snapshots else None


def _hit_ratio(recording: Recording) -> float | None:
    if not recording.snapshots:
        return None
    waits = growth(*_ends(recording), WAITS)
    return 1 - growth(*_ends(recording), WAITED) / waits if waits else None


def _encoder_batch(recording: Recording) -> float | None:
    return batch_size(*_ends(recording), "stage2_encoder") if recording.snapshots else None


def _cpu_ms(recording: Recording) -> float | None:
    answered = len(answered_ms(recording.requests))
    if not recording.snapshots or not answered:
        return None
    before, after = _ends(recording)
    used = {role: share for role, share in cores_used(before, after).items() if role not in OURS}
    return 1000 * sum(used.values()) * (after.at - before.at) / answered if used else None


OURS = frozenset({LOAD_GENERATOR, SAMPLER})
"""Roles that are no part of the service."""

FIGURES: dict[str, Figure] = {
    "answered": Figure("right answers", "", _count("right")),
    "wrong": Figure("wrong transcripts", "", _count("wrong")),
    "errors": Figure("errors and broken connections", "", _count(*FAILED)),
    "refused": Figure("requests refused", "", _count("refused")),
    "last_refused": Figure("requests refused once the load has gone", "", _last_refused),
    "late_p99_ms": Figure("generator sends late, p99", "ms", _late_p99_ms),
    "offered_ratio": Figure("offered rate over the planned one, slowest phase", "", _offered_ratio),
    "left_over": Figure("requests, slots or ill health left over", "", _left_over),
    "p50_ms": Figure("latency, p50", "ms", _percentile_ms(50, _all)),
    "p95_ms": Figure("latency, p95", "ms", _percentile_ms(95, _all)),
    "p99_ms": Figure("latency, p99", "ms", _percentile_ms(99, _all)),
    "p95_ratio": Figure("latency over a request alone, p95", "times", _alone(95, _all)),
    "p99_ratio": Figure("latency over a request alone, p99", "times", _alone(99, _all)),
    "last_p95_ratio": Figure("latency over a request alone, p95, once the load has gone", "times", _alone(95, _last)),
    "short_p95_ratio": Figure(
        "latency of short files over a request alone, p95", "times", _alone(95, _of_size("short"))
    ),
    "last_p95_ms": Figure("latency once the load has gone, p95", "ms", _percentile_ms(95, _last)),
    "short_p95_ms": Figure("latency of short files, p95", "ms", _percentile_ms(95, _of_size("short"))),
    "over_deadline": Figure("accepted, but not answered by the deadline", "", _over_deadline),
    "foreseen_ratio": Figure("refused at once, of what was not answered in time", "", _foreseen_ratio),
    "without_retry_after": Figure("refusals without Retry-After", "", _without_retry_after),
    "refusal_p50_ms": Figure("time to a refusal, p50", "ms", _refusal_p50_ms),
    "capacity": Figure("highest step served", "requests/s", _capacity),
    "served_ratio": Figure("highest step served over the capacity", "", _served_ratio),
    "request_ms": Figure("a request alone", "ms", lambda recording: 1000 * recording.calibration.request_s),
    "goodput_ratio": Figure("answers under overload over the capacity", "", _goodput_ratio),
    "queue_wait_p50_ms": Figure("queue wait, p50", "ms", _queue_wait(50)),
    "queue_wait_p99_ms": Figure("queue wait, p99", "ms", _queue_wait(99)),
    "hit_ratio": Figure("slots granted at once", "", _hit_ratio),
    "encoder_batch": Figure("windows in an encoder batch, mean", "", _encoder_batch),
    "cpu_ms": Figure("CPU of the service for an answer", "ms", _cpu_ms),
    "memory_slope": Figure("memory slope", "MiB/h", _memory_slope("value")),
    "memory_slope_upper": Figure("memory slope, upper 95% bound", "MiB/h", _memory_slope("upper")),
}
