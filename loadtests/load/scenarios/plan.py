"""The scenarios: the load that each offers, and what must hold meanwhile.

No figure here belongs to one model or machine. Rates are multiples of the capacity that a calibration measures first,
latencies multiples of what a request takes alone, long times multiples of a turn: the time in which the service answers
each of 16 clients once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from loadtests.load.calibration import Calibration
from loadtests.load.scenarios.traffic import Mix

Edition = Literal["full", "short"]

DEADLINE_S = 60.0
"""The least deadline of scenarios in which nothing may be refused."""


@dataclass(frozen=True)
class Phase:
    """A stretch of constant load.

    Attributes:
        rate: arrivals per second; before the calibration, multiples of the capacity.
        seconds: how long it lasts; before the calibration, at least.
        turns: how many turns it lasts at least.
    """

    name: str
    rate: float
    seconds: float
    turns: float = 0.0


@dataclass(frozen=True)
class Criterion:
    """A figure of ``judgement.FIGURES`` that must stay within its limit."""

    figure: str
    bound: Literal["at most", "at least"]
    limit: float


@dataclass(frozen=True)
class StepLimit:
    """What a step of a ramp must keep to count as served; ``p95_ratio`` counts in times of a request alone."""

    p95_ratio: float
    unanswered: int = 0


@dataclass(frozen=True)
class Scenario:
    """One load test.

    Attributes:
        question: what it finds out, in one sentence.
        phases: one after the other, without a pause; a ramp waits after each until all is answered.
        deadline_s: the deadline that every request asks for.
        deadline_turns: the same in turns, where ``deadline_s`` is to follow from the calibration.
        times_capacity: rates are multiples of the capacity: ``at`` makes them requests per second.
        step_limit: makes it a ramp, which ends when two steps in a row break the limit.
        max_in_flight: how many locust users there are. If all of them wait for an answer, the generator falls behind
            and says so.
        warm_up_s: seconds at the start that the memory slope leaves out.
        settings: the settings of the service.
    """

    name: str
    question: str
    phases: tuple[Phase, ...]
    criteria: tuple[Criterion, ...]
    mix: Mix = "short"
    deadline_s: float = DEADLINE_S
    deadline_turns: float | None = None
    times_capacity: bool = False
    step_limit: StepLimit | None = None
    max_in_flight: int = 300
    warm_up_s: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """The longest time that the load lasts, without the time that the last answers take."""
        return sum(phase.seconds for phase in self.phases)

    def at(self, calibration: Calibration, mean_s: float) -> Scenario:
        """Return the same for one service, with rates in requests per second.

        Args:
            mean_s: mean seconds of audio in a request of this scenario's mix. A mix of longer files than the
                clips of the calibration has a capacity that is smaller in proportion.
        """
        if not self.times_capacity:
            return self
        rate, turn_s = calibration.capacity * calibration.mean_clip_s / mean_s, calibration.turn_s
        return replace(
            self,
            phases=tuple(
                replace(phase, rate=phase.rate * rate, seconds=max(phase.seconds, phase.turns * turn_s))
                for phase in self.phases
            ),
            deadline_s=self.deadline_s if self.deadline_turns is None else self.deadline_turns * turn_s,
            times_capacity=False,
        )


def scenarios(edition: Edition) -> tuple[Scenario, ...]:
    """Return all scenarios, in the order in which they run."""
    return tuple(make(edition) for make in (_steady, _burst, _ramp, _mixed, _overload, _soak))


def at_most(figure: str, limit: float) -> Criterion:
    """Make the criterion that a figure is no larger than a limit."""
    return Criterion(figure, "at most", limit)


def at_least(figure: str, limit: float) -> Criterion:
    """Make the criterion that a figure is no smaller than a limit."""
    return Criterion(figure, "at least", limit)


SOUND = (
    at_most("wrong", 0),
    at_most("errors", 0),
    at_most("over_deadline", 0),
    at_most("late_p99_ms", 50),
    at_least("offered_ratio", 0.99),
    at_most("left_over", 0),
)
"""What every scenario asks: right texts, no errors, deadlines and the generator's pace kept, nothing left behind."""


OVERLOADED = tuple(criterion for criterion in SOUND if criterion.figure != "over_deadline")
"""Nobody can foresee every arrival, so under overload a few wait and are not answered."""


def _steady(edition: Edition) -> Scenario:
    return Scenario(
        "steady",
        "Does it serve three quarters of its capacity for as long as one likes?",
        (Phase("steady", 0.75, {"full": 300.0, "short": 30.0}[edition], turns=4),),
        (*SOUND, at_most("refused", 0), at_most("p95_ratio", 4), at_most("p99_ratio", 6)),
        times_capacity=True,
    )


def _burst(edition: Edition) -> Scenario:
    calm_s, burst_s = {"full": (30.0, 30.0), "short": (6.0, 8.0)}[edition]
    after_s = 4 * burst_s  # so that a backlog is gone before the second half of it
    return Scenario(
        "burst",
        "Does a burst above the capacity only wait, and is it forgotten afterwards?",
        (
            Phase("calm", 0.33, calm_s, turns=2),
            Phase("burst", 1.67, burst_s, turns=2),
            Phase("after", 0.33, after_s, turns=8),
        ),
        (*SOUND, at_most("refused", 0), at_most("last_p95_ratio", 4)),
        times_capacity=True,
        max_in_flight=3000,
        settings={"max_queue_size": 3000},
    )


def _ramp(edition: Edition) -> Scenario:
    percents = {"full": range(15, 240, 15), "short": (30, 50, 65, 80, 95, 110, 130, 160)}[edition]
    seconds = {"full": 30.0, "short": 5.0}[edition]
    return Scenario(
        "ramp",
        "Up to which load are answers quick and complete?",
        tuple(Phase(f"{percent}%", percent / 100, seconds, turns=3) for percent in percents),
        (*SOUND, at_least("served_ratio", 0.75)),
        times_capacity=True,
        step_limit=StepLimit(p95_ratio=4),
        max_in_flight=2000,
        settings={"max_queue_size": 2000},
    )


def _mixed(edition: Edition) -> Scenario:
    return Scenario(
        "mixed",
        "Do short files stay quick beside files of minutes, streams, priorities and clients that hang up?",
        (Phase("mixed", 0.4, {"full": 300.0, "short": 30.0}[edition], turns=4),),
        (*SOUND, at_most("refused", 0), at_most("short_p95_ratio", 6)),
        mix="mixed",
        times_capacity=True,
    )


def _overload(edition: Edition) -> Scenario:
    calm_s, over_s = {"full": (20.0, 60.0), "short": (4.0, 15.0)}[edition]
    return Scenario(
        "overload",
        "At three times the capacity: is what is accepted answered in time, and the rest told when to come back?",
        (
            Phase("calm", 0.5, calm_s, turns=1),
            Phase("overload", 3.0, over_s, turns=8),
            Phase("after", 0.5, 2 * calm_s, turns=8),
        ),
        (
            *OVERLOADED,
            at_least("foreseen_ratio", 0.9),
            at_most("refusal_p50_ms", 50),
            at_most("without_retry_after", 0),
            at_least("goodput_ratio", 0.6),
            at_most("last_refused", 0),
        ),
        mix="priorities",
        deadline_turns=4,
        times_capacity=True,
        max_in_flight=1500,
    )


def _soak(edition: Edition) -> Scenario:
    # Ray's processes, and what the ingress keeps of past requests, take some eight minutes to fill.
    seconds, warm_up_s, slope = {"full": (1800.0, 600.0, 20.0), "short": (75.0, 25.0, 1500.0)}[edition]
    return Scenario(
        "soak",
        "Does memory stay where it is?",
        (Phase("soak", 0.4, seconds),),
        (*SOUND, at_most("refused", 0), at_most("p99_ratio", 4), at_most("memory_slope_upper", slope)),
        times_capacity=True,
        warm_up_s=warm_up_s,
    )
