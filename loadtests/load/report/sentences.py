"""What the figures say, in sentences; every number comes from the raw results."""

from __future__ import annotations

from collections import Counter

from loadtests.load.calibration import CLIENTS, Calibration
from loadtests.load.report.run import JudgedScenario, RecordedRun
from loadtests.load.scenarios.judgement import FIGURES
from loadtests.load.scenarios.phases import played_phases
from loadtests.load.scenarios.plan import Phase, Scenario
from loadtests.load.scenarios.recording import Verdict
from loadtests.load.scenarios.wording import limit, measured, quantity

MINUTE_S = 60.0


def summary(run: RecordedRun) -> str:
    """Tell the whole run in one paragraph."""
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
    """Tell a criterion that is not met, with what was measured."""
    return f"{FIGURES[verdict.figure].label} {measured(verdict)} ({limit(verdict)})"


def result(one: JudgedScenario) -> str:
    """Tell what a scenario found, in a sentence."""
    return SENTENCES[one.name](one)


def _steady(one: JudgedScenario) -> str:
    phase = one.recording.scenario.phases[0]
    return f"{phase.rate:.3g} requests/s for {duration(phase.seconds)}: {_latency(one)}, {_answered(one)}."


def _burst(one: JudgedScenario) -> str:
    phase = _busiest(one)
    longest = max((request.seconds for request in one.recording.requests if request.outcome == "right"), default=0.0)
    return (
        f"A burst of {phase.rate:.3g} requests/s for {duration(phase.seconds)}: the longest wait for an answer was "
        f"{longest:.1f} s, {_answered(one)}; once it had passed, p95 was {_quantity(one, 'last_p95_ms')}."
    )


def _ramp(one: JudgedScenario) -> str:
    criterion = one.recording.scenario.step_limit
    held = [phase for phase in played_phases(one.recording) if phase.held]
    if criterion is None or not held:
        return "No step of the ramp was served as it should be."
    best = max(held, key=lambda phase: phase.offered)
    return (
        f"{best.offered:.3g} requests/s, {_share(one, 'served_ratio')} of the capacity, was the highest offered load "
        f"whose p95 stayed within {criterion.p95_ratio:g} times a request alone with every request answered (p95 "
        f"there: {best.p95_ms or 0:.0f} ms)."
    )


def _mixed(one: JudgedScenario) -> str:
    return (
        f"Among files of minutes, streams and clients that hang up, short files had a p95 of "
        f"{_quantity(one, 'short_p95_ms')}, {_answered(one)}."
    )


def _overload(one: JudgedScenario) -> str:
    refused = one.figure("refused") or 0
    how_soon = f", half of them within {_quantity(one, 'refusal_p50_ms')}" if refused else ""
    return (
        f"At {_busiest(one).rate:.3g} requests/s, several times the capacity, the service answered as many as "
        f"{_share(one, 'goodput_ratio')} of its capacity; it refused {refused:.0f} requests{how_soon}, and "
        f"{one.figure('over_deadline') or 0:.0f} that it had accepted missed their deadline."
    )


def _soak(one: JudgedScenario) -> str:
    scenario = one.recording.scenario
    watched = duration(scenario.seconds - scenario.warm_up_s)
    return (
        f"Over {watched} at {scenario.phases[0].rate:.3g} requests/s the trend of memory was "
        f"{_quantity(one, 'memory_slope')} (upper 95% bound {_quantity(one, 'memory_slope_upper')})."
    )


SENTENCES = {
    "steady": _steady,
    "burst": _burst,
    "ramp": _ramp,
    "mixed": _mixed,
    "overload": _overload,
    "soak": _soak,
}


def unanswered(one: JudgedScenario) -> str:
    """Tell what came instead of right texts, the most frequent first; empty if nothing did."""
    others = Counter(
        f"{request.status or 'no answer'} {request.code}"
        for request in one.recording.requests
        if request.outcome not in {"right", "hung up"}
    )
    return ", ".join(f"{count} x {kind}" for kind, count in others.most_common())


def offered(scenario: Scenario) -> str:
    """Tell the phases of a scenario."""
    first, last = scenario.phases[0], scenario.phases[-1]
    if scenario.step_limit:
        return (
            f"{first.rate:.3g} to at most {last.rate:.3g}/s in steps of {duration(first.seconds)}, until two in a row "
            "are not served"
        )
    return ", ".join(f"{phase.rate:.3g}/s for {duration(phase.seconds)}" for phase in scenario.phases)


def calibrated(calibration: Calibration) -> str:
    """Tell what the load and the limits are multiples of."""
    return (
        f"Before it, the service answered {calibration.capacity:.3g} requests/s with {CLIENTS} clients, and one alone "
        f"in {1000 * calibration.request_s:.0f} ms."
    )


def duration(seconds: float) -> str:
    """Write seconds, or minutes where there are two or more."""
    return f"{seconds / MINUTE_S:.3g} min" if seconds >= 2 * MINUTE_S else f"{seconds:.3g} s"


def _busiest(one: JudgedScenario) -> Phase:
    return max(one.recording.scenario.phases, key=lambda phase: phase.rate)


def _latency(one: JudgedScenario) -> str:
    return ", ".join(f"p{percent} {_quantity(one, f'p{percent}_ms')}" for percent in (50, 95, 99))


def _answered(one: JudgedScenario) -> str:
    sent = sum(request.outcome != "hung up" for request in one.recording.requests)
    return f"{one.figure('answered') or 0:.0f} of {sent} answered right"


def _share(one: JudgedScenario, figure: str) -> str:
    value = one.figure(figure)
    return "an unknown share" if value is None else f"{100 * value:.0f}%"


def _quantity(one: JudgedScenario, figure: str) -> str:
    return quantity(figure, one.figure(figure))
