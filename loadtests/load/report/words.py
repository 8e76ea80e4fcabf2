"""What the figures say, in sentences. Every number comes from the raw results."""

from __future__ import annotations

from collections import Counter

from loadtests.load.calibration import CLIENTS, Calibration
from loadtests.load.report.run import Judged, Run
from loadtests.load.scenarios.figures import FIGURES, steps
from loadtests.load.scenarios.plan import Phase, Scenario
from loadtests.load.scenarios.recording import Verdict
from loadtests.load.scenarios.wording import limit, measured, quantity

MINUTE_S = 60.0


def summary(run: Run) -> str:
    """The whole run in one paragraph."""
    verdicts = [verdict for one in run.scenarios for verdict in one.verdicts]
    met = sum(verdict.passed for verdict in verdicts)
    requests = sum(len(one.recording.requests) for one in run.scenarios)
    wrong = sum(one.figure("wrong") or 0 for one in run.scenarios)
    failed = [
        f"{one.name}: {broken(verdict)}" for one in run.scenarios for verdict in one.verdicts if not verdict.passed
    ]
    sentences = [
        f"{met} of {len(verdicts)} criteria are met in {len(run.scenarios)} scenarios with {requests} requests.",
        f"Not met: {'; '.join(failed)}." if failed else "",
        *(result(one) for one in run.scenarios),
        f"{wrong:.0f} transcripts differed from the answer to the same audio alone.",
    ]
    return " ".join(filter(None, sentences))


def broken(verdict: Verdict) -> str:
    """A criterion that is not met, with what was measured."""
    return f"{FIGURES[verdict.figure].label} {measured(verdict)} ({limit(verdict)})"


def result(one: Judged) -> str:
    """What a scenario found, in a sentence."""
    return _SENTENCES[one.name](one)


def _steady(one: Judged) -> str:
    phase = one.recording.scenario.phases[0]
    return f"{phase.rate:.3g} requests/s for {duration(phase.seconds)}: {_latency(one)}, {_answered(one)}."


def _burst(one: Judged) -> str:
    phase = _busiest(one)
    longest = max((request.seconds for request in one.recording.requests if request.outcome == "right"), default=0.0)
    return (
        f"A burst of {phase.rate:.3g} requests/s for {duration(phase.seconds)}: the longest wait for an answer was "
        f"{longest:.1f} s, {_answered(one)}; once it had passed, p95 was {_quantity(one, 'last_p95_ms')}."
    )


def _ramp(one: Judged) -> str:
    criterion, held = one.recording.scenario.step_limit, [step for step in steps(one.recording) if step.held]
    if criterion is None or not held:
        return "No step of the ramp was served as it should be."
    best = max(held, key=lambda step: step.offered)
    return (
        f"{best.offered:.3g} requests/s, {_share(one, 'served_ratio')} of the capacity, was the highest offered load "
        f"whose p95 stayed within {criterion.p95_ratio:g} times a request alone with every request answered (p95 "
        f"there: {best.p95_ms or 0:.0f} ms)."
    )


def _mixed(one: Judged) -> str:
    return (
        f"Among files of minutes, streams and clients that hang up, short files had a p95 of "
        f"{_quantity(one, 'short_p95_ms')}, {_answered(one)}."
    )


def _overload(one: Judged) -> str:
    refused = one.figure("refused") or 0
    how_soon = f", half of them within {_quantity(one, 'refusal_p50_ms')}" if refused else ""
    return (
        f"At {_busiest(one).rate:.3g} requests/s, several times the capacity, the service answered as many as "
        f"{_share(one, 'goodput_ratio')} of its capacity; it refused {refused:.0f} requests{how_soon}, and "
        f"{one.figure('over_deadline') or 0:.0f} that it had accepted missed their deadline."
    )


def _soak(one: Judged) -> str:
    scenario = one.recording.scenario
    watched = duration(scenario.seconds - scenario.warm_up_s)
    return (
        f"Over {watched} at {scenario.phases[0].rate:.3g} requests/s the trend of memory was "
        f"{_quantity(one, 'memory_slope')} (upper 95% bound {_quantity(one, 'memory_slope_upper')})."
    )


_SENTENCES = {
    "steady": _steady,
    "burst": _burst,
    "ramp": _ramp,
    "mixed": _mixed,
    "overload": _overload,
    "soak": _soak,
}


def unanswered(one: Judged) -> str:
    """What came instead of right texts, the most frequent first; empty if nothing did."""
    others = Counter(
        f"{request.status or 'no answer'} {request.code}"
        for request in one.recording.requests
        if request.outcome not in {"right", "hung up"}
    )
    return ", ".join(f"{count} x {kind}" for kind, count in others.most_common())


def offered(scenario: Scenario) -> str:
    """The phases of a scenario."""
    first, last = scenario.phases[0], scenario.phases[-1]
    if scenario.step_limit:
        return (
            f"{first.rate:.3g} to at most {last.rate:.3g}/s in steps of {duration(first.seconds)}, until two in a row "
            "are not served"
        )
    return ", ".join(f"{phase.rate:.3g}/s for {duration(phase.seconds)}" for phase in scenario.phases)


def calibrated(calibration: Calibration) -> str:
    """What the load and the limits are multiples of."""
    return (
        f"Before it, the service answered {calibration.capacity:.3g} requests/s with {CLIENTS} clients, and one alone "
        f"in {1000 * calibration.request_s:.0f} ms."
    )


def duration(seconds: float) -> str:
    return f"{seconds / MINUTE_S:.3g} min" if seconds >= 2 * MINUTE_S else f"{seconds:.3g} s"


def _busiest(one: Judged) -> Phase:
    return max(one.recording.scenario.phases, key=lambda phase: phase.rate)


def _latency(one: Judged) -> str:
    return ", ".join(f"p{percent} {_quantity(one, f'p{percent}_ms')}" for percent in (50, 95, 99))


def _answered(one: Judged) -> str:
    sent = sum(request.outcome != "hung up" for request in one.recording.requests)
    return f"{one.figure('answered') or 0:.0f} of {sent} answered right"


def _share(one: Judged, figure: str) -> str:
    value = one.figure(figure)
    return "an unknown share" if value is None else f"{100 * value:.0f}%"


def _quantity(one: Judged, figure: str) -> str:
    return quantity(figure, one.figure(figure))
