"""The scenarios: the load that each offers, and what must hold meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from loadtests.scenarios.traffic import Mix

Edition = Literal["full", "short"]


@dataclass(frozen=True)
class Phase:
    """A stretch of constant load.

    Attributes:
        rate: arrivals a second.
    """

    name: str
    rate: float
    seconds: float


@dataclass(frozen=True)
class Criterion:
    """A figure (see ``figures.FIGURES``) that must stay within its limit."""

    figure: str
    bound: Literal["at most", "at least"]
    limit: float


@dataclass(frozen=True)
class StepLimit:
    """What a step of a ramp must keep to count as served."""

    p95_ms: float
    unanswered: int = 0


@dataclass(frozen=True)
class Scenario:
    """One load test.

    Attributes:
        question: what it finds out, in one sentence.
        phases: one after the other, without a pause; a ramp waits after each until all is answered.
        deadline_s: that every request asks for.
        times_capacity: rates are multiples of the capacity, which is measured first.
        step_limit: makes it a ramp, which ends when two steps in a row break the limit.
        max_in_flight: locust users. If all of them wait for an answer, the generator falls behind and says so.
        warm_up_s: at the start, left out of the memory slope.
        settings: of the service.
    """

    name: str
    question: str
    phases: tuple[Phase, ...]
    criteria: tuple[Criterion, ...]
    mix: Mix = "short"
    deadline_s: float = 60.0
    times_capacity: bool = False
    step_limit: StepLimit | None = None
    max_in_flight: int = 300
    warm_up_s: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """At most, without the time that the last answers take."""
        return sum(phase.seconds for phase in self.phases)

    def at(self, capacity: float) -> Scenario:
        """The same with rates in requests a second."""
        phases = tuple(replace(phase, rate=phase.rate * capacity) for phase in self.phases)
        return replace(self, phases=phases, times_capacity=False)


def scenarios(edition: Edition) -> tuple[Scenario, ...]:
    """All of them, in the order in which they run."""
    return tuple(make(edition) for make in (_steady, _burst, _ramp, _mixed, _overload, _soak))


def at_most(figure: str, limit: float) -> Criterion:
    return Criterion(figure, "at most", limit)


def at_least(figure: str, limit: float) -> Criterion:
    return Criterion(figure, "at least", limit)


SOUND = (
    at_most("wrong", 0),
    at_most("errors", 0),
    at_most("over_deadline", 0),
    at_most("late_p99_ms", 50),
    at_least("offered_ratio", 0.99),
    at_most("left_over", 0),
)
"""Of every scenario: right texts, no errors, deadlines kept, a generator that kept its pace, nothing left behind."""


OVERLOADED = tuple(criterion for criterion in SOUND if criterion.figure != "over_deadline")
"""Nobody can foresee every arrival, so under overload a few wait in vain."""


def _steady(edition: Edition) -> Scenario:
    return Scenario(
        "steady",
        "Does it serve 50 requests/s for as long as one likes?",
        (Phase("50/s", 50.0, {"full": 300.0, "short": 30.0}[edition]),),
        (*SOUND, at_most("refused", 0), at_most("p95_ms", 1000), at_most("p99_ms", 2000)),
    )


def _burst(edition: Edition) -> Scenario:
    calm_s, burst_s = {"full": (30.0, 30.0), "short": (6.0, 8.0)}[edition]
    after_s = 4 * burst_s  # so that a backlog is gone before the second half of it, down to a capacity of 47/s
    return Scenario(
        "burst",
        "Does a burst above the capacity only wait, and is it forgotten afterwards?",
        (Phase("calm", 20.0, calm_s), Phase("burst", 100.0, burst_s), Phase("after", 20.0, after_s)),
        (*SOUND, at_most("refused", 0), at_most("last_p95_ms", 1000)),
        max_in_flight=3000,
        settings={"max_queue_size": 3000},
    )


def _ramp(edition: Edition) -> Scenario:
    rates = {"full": range(10, 160, 10), "short": (20, 30, 40, 50, 60, 70, 80, 100)}[edition]
    seconds = {"full": 30.0, "short": 5.0}[edition]
    return Scenario(
        "ramp",
        "Up to which load are answers quick and complete?",
        tuple(Phase(f"{rate}/s", float(rate), seconds) for rate in rates),
        (*SOUND, at_least("capacity", 40)),
        step_limit=StepLimit(p95_ms=500),
        max_in_flight=2000,
        settings={"max_queue_size": 2000},
    )


def _mixed(edition: Edition) -> Scenario:
    return Scenario(
        "mixed",
        "Do short files stay quick beside files of minutes, streams, priorities and clients that hang up?",
        (Phase("mixed", 12.0, {"full": 300.0, "short": 30.0}[edition]),),
        (*SOUND, at_most("refused", 0), at_most("short_p95_ms", 2000)),
        mix="mixed",
    )


def _overload(edition: Edition) -> Scenario:
    calm_s, over_s = {"full": (20.0, 60.0), "short": (4.0, 15.0)}[edition]
    return Scenario(
        "overload",
        "At three times the capacity: is what is accepted answered in time, and the rest told when to come back?",
        (Phase("calm", 0.5, calm_s), Phase("overload", 3.0, over_s), Phase("after", 0.5, 2 * calm_s)),
        (
            *OVERLOADED,
            at_least("foreseen_ratio", 0.9),
            at_most("refusal_p50_ms", 50),
            at_most("without_retry_after", 0),
            at_least("goodput_ratio", 0.5),
            at_most("last_refused", 0),
        ),
        mix="priorities",
        deadline_s=2.0,
        times_capacity=True,
        max_in_flight=1500,
    )


def _soak(edition: Edition) -> Scenario:
    # Ray's processes, and what the ingress keeps of past requests, take some eight minutes to fill.
    seconds, warm_up_s, slope = {"full": (1800.0, 600.0, 20.0), "short": (75.0, 25.0, 1500.0)}[edition]
    return Scenario(
        "soak",
        "Does memory stay where it is?",
        (Phase("25/s", 25.0, seconds),),
        (*SOUND, at_most("refused", 0), at_most("p99_ms", 2000), at_most("memory_slope_upper", slope)),
        warm_up_s=warm_up_s,
    )
