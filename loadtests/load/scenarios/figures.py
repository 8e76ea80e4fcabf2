"""Figures of a recording, and whether they stay within the criteria. Nothing here talks to a service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from loadtests.load.scenarios.estimates import histogram_percentile, percentile, slope
from loadtests.load.scenarios.plan import Criterion, StepLimit
from loadtests.load.scenarios.recording import Recording, Request, Sample, Verdict

GRACE_S = 0.5
"""An answer may arrive so long after the deadline: the way back, and a generator that shares the machine."""

HOUR_S = 3600.0
ANSWERED = frozenset({"right", "wrong"})

STAGES = {"stage1_load_mel": "MelPreprocessor", "stage2_encoder": "Encoder", "stage3_decoder_align": "Decoder"}
QUEUE_WAIT = "amanuensis_queue_wait_seconds"
WAITS, WAITED = f"{QUEUE_WAIT}_count", "amanuensis_slot_waits_total"


@dataclass(frozen=True)
class Step:
    """One phase as it went. Rates in requests a second; a percentile of nothing is None."""

    name: str
    offered: float
    answered: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    unanswered: int
    held: bool


@dataclass(frozen=True)
class Figure:
    """One number that a recording gives.

    Attributes:
        label: what it is, for readers.
        unit: empty for a count.
        compute: None where there is nothing to compute it from.
    """

    label: str
    unit: str
    compute: Callable[[Recording], float | None]


def judge(recording: Recording) -> list[Verdict]:
    """A verdict for each criterion of the scenario."""
    return [_verdict(criterion, recording) for criterion in recording.scenario.criteria]


def _verdict(criterion: Criterion, recording: Recording) -> Verdict:
    value = FIGURES[criterion.figure].compute(recording)
    passed = value is not None and (
        value <= criterion.limit if criterion.bound == "at most" else value >= criterion.limit
    )
    return Verdict(criterion.figure, criterion.bound, criterion.limit, value, passed)


def answered_ms(requests: Iterable[Request]) -> list[float]:
    """Milliseconds to every right answer."""
    return [1000 * request.seconds for request in requests if request.outcome == "right"]


def phase(recording: Recording, name: str) -> list[Request]:
    """The requests that were due in it."""
    return [request for request in recording.requests if request.phase == name]


def steps(recording: Recording) -> list[Step]:
    """Every phase that took place."""
    limit, found = recording.scenario.step_limit, []
    for plan in recording.scenario.phases:
        requests = phase(recording, plan.name)
        if not requests:
            continue
        times, until = answered_ms(requests), requests[0].due + plan.seconds
        in_time = sum(request.outcome == "right" and request.ended <= until for request in requests)
        p50, p95, p99 = (percentile(times, percent) for percent in (50, 95, 99))
        unanswered = _unanswered(requests)
        held = limit is None or holds(requests, limit, recording.calibration.request_s)
        found.append(Step(plan.name, plan.rate, in_time / plan.seconds, p50, p95, p99, unanswered, held))
    return found


def holds(requests: Sequence[Request], limit: StepLimit, request_s: float) -> bool:
    """Whether a step of a ramp was served as it should be; ``request_s``: seconds of a request alone."""
    p95 = percentile(answered_ms(requests), 95)
    return p95 is not None and p95 <= 1000 * request_s * limit.p95_ratio and _unanswered(requests) <= limit.unanswered


def _unanswered(requests: Iterable[Request]) -> int:
    return sum(request.outcome not in {"right", "hung up"} for request in requests)


def _held(recording: Recording) -> list[Request]:
    """The requests that figures of the generator are about: of a ramp, only steps that were served."""
    held = {step.name for step in steps(recording) if step.held}
    return [request for request in recording.requests if request.phase in held]


def _late_p99_ms(recording: Recording) -> float | None:
    return percentile([1000 * (request.began - request.due) for request in _held(recording)], 99)


def _offered_ratio(recording: Recording) -> float | None:
    """Of the slowest phase."""
    rates = {plan.name: plan.rate for plan in recording.scenario.phases}
    ratios = []
    for name, group in groupby(_held(recording), key=lambda request: request.phase):
        began = sorted(request.began for request in group)
        if began[-1] > began[0]:
            ratios.append((len(began) - 1) / (began[-1] - began[0]) / rates[name])
    return min(ratios, default=None)


def _count(*outcomes: str) -> Callable[[Recording], float | None]:
    return lambda recording: sum(request.outcome in outcomes for request in recording.requests)


def _percentile_ms(percent: float, choose: Callable[[Recording], Sequence[Request]]) -> Callable[..., float | None]:
    return lambda recording: percentile(answered_ms(choose(recording)), percent)


def _alone(percent: float, choose: Callable[[Recording], Sequence[Request]]) -> Callable[..., float | None]:
    """A percentile of latencies in multiples of what a request takes alone."""

    def compute(recording: Recording) -> float | None:
        found = percentile(answered_ms(choose(recording)), percent)
        return None if found is None else found / (1000 * recording.calibration.request_s)

    return compute


def _all(recording: Recording) -> Sequence[Request]:
    return recording.requests


def _last(recording: Recording) -> Sequence[Request]:
    """Of the second half of the last phase: after what came before has been worked off."""
    requests = phase(recording, recording.scenario.phases[-1].name)
    return requests[len(requests) // 2 :]


def _of_size(size: str) -> Callable[[Recording], Sequence[Request]]:
    return lambda recording: [request for request in recording.requests if request.size == size]


def _over_deadline(recording: Recording) -> float:
    allowed = recording.scenario.deadline_s + GRACE_S
    return sum(
        request.outcome == "late" or (request.outcome in ANSWERED and request.seconds > allowed)
        for request in recording.requests
    )


def _foreseen_ratio(recording: Recording) -> float | None:
    """Of the requests that could not be answered in time, those that heard so at once."""
    refused = sum(request.outcome == "refused" for request in recording.requests)
    unanswered = refused + _over_deadline(recording)
    return refused / unanswered if unanswered else None


def _without_retry_after(recording: Recording) -> float:
    return sum(request.outcome == "refused" and request.retry_after_s is None for request in recording.requests)


def _capacity(recording: Recording) -> float | None:
    return max((step.offered for step in steps(recording) if step.held), default=None)


def _served_ratio(recording: Recording) -> float | None:
    served = _capacity(recording)
    return None if served is None else served / recording.calibration.capacity


def _goodput_ratio(recording: Recording) -> float | None:
    """Answers a second in the busiest phase, over the capacity."""
    busiest = max(recording.scenario.phases, key=lambda plan: plan.rate)
    step = next((step for step in steps(recording) if step.name == busiest.name), None)
    return step.answered / recording.calibration.capacity if step else None


def _last_refused(recording: Recording) -> float:
    return sum(request.outcome == "refused" for request in _last(recording))


def _left_over(recording: Recording) -> float:
    rest = recording.rest
    return rest.queue + rest.slots + rest.pending + (not rest.healthy)


def _refusal_p50_ms(recording: Recording) -> float | None:
    return percentile([1000 * request.seconds for request in recording.requests if request.outcome == "refused"], 50)


def memory_series(recording: Recording) -> tuple[list[float], list[float]]:
    """Seconds since the start and MiB of all roles of the service, after the warm-up."""
    from_ = recording.began + recording.scenario.warm_up_s
    kept = [sample for sample in recording.samples if sample.memory_mib and sample.at >= from_]
    return [sample.at - recording.began for sample in kept], [sum(sample.memory_mib.values()) for sample in kept]


def _memory_slope(bound: str) -> Callable[[Recording], float | None]:
    def compute(recording: Recording) -> float | None:
        trend = slope(*memory_series(recording))
        return HOUR_S * float(getattr(trend, bound)) if trend else None

    return compute


def growth(before: Sample, after: Sample, series: str) -> float:
    """How much a counter grew."""
    return after.metrics.get(series, 0.0) - before.metrics.get(series, 0.0)


def queue_wait_ms(before: Sample, after: Sample, percent: float) -> float | None:
    """Wait for the first slot, of the requests that got one between two samples; estimated from the histogram."""
    prefix = f'{QUEUE_WAIT}_bucket{{le="'
    buckets = [series for series in after.metrics if series.startswith(prefix)]
    bounds = [float(series.removeprefix(prefix).removesuffix('"}')) for series in buckets]
    estimate = histogram_percentile(bounds, [growth(before, after, series) for series in buckets], percent)
    return None if estimate is None else 1000 * estimate


def busy_share(before: Sample, after: Sample, stage: str) -> float:
    """Seconds in which the stage computed, a second; above 1 with several workers."""
    busy = growth(before, after, f'amanuensis_stage_busy_seconds_total{{stage="{stage}"}}')
    return busy / max(after.at - before.at, 1e-9)


def batch_size(before: Sample, after: Sample, stage: str) -> float | None:
    """Mean number of windows in the batches between two samples; None if there were none."""
    batches = growth(before, after, f'amanuensis_stage_batches_total{{stage="{stage}"}}')
    windows = growth(before, after, f'amanuensis_stage_run_seconds_count{{stage="{stage}"}}')
    return windows / batches if batches > 0 else None


def cores_used(before: Sample, after: Sample) -> dict[str, float]:
    """CPU seconds a second by role, of roles that used any. A role whose processes were replaced counts as 0."""
    seconds = max(after.at - before.at, 1e-9)
    used = {role: (total - before.cpu_s.get(role, 0.0)) / seconds for role, total in after.cpu_s.items()}
    return {role: max(share, 0.0) for role, share in used.items()}


def _ends(recording: Recording) -> tuple[Sample, Sample]:
    return recording.samples[0], recording.samples[-1]


def _queue_wait(percent: float) -> Callable[[Recording], float | None]:
    return lambda recording: queue_wait_ms(*_ends(recording), percent) if recording.samples else None


def _hit_ratio(recording: Recording) -> float | None:
    if not recording.samples:
        return None
    waits = growth(*_ends(recording), WAITS)
    return 1 - growth(*_ends(recording), WAITED) / waits if waits else None


def _encoder_batch(recording: Recording) -> float | None:
    return batch_size(*_ends(recording), "stage2_encoder") if recording.samples else None


def _cpu_ms(recording: Recording) -> float | None:
    answered = len(answered_ms(recording.requests))
    if not recording.samples or not answered:
        return None
    before, after = _ends(recording)
    used = {role: share for role, share in cores_used(before, after).items() if role not in OURS}
    return 1000 * sum(used.values()) * (after.at - before.at) / answered if used else None


OURS = frozenset({"load generator", "sampler"})
"""Roles that are no part of the service."""

FIGURES: dict[str, Figure] = {
    "answered": Figure("right answers", "", _count("right")),
    "wrong": Figure("wrong transcripts", "", _count("wrong")),
    "errors": Figure("errors and broken connections", "", _count("error")),
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
