"""The plan of what goes wrong, and when: every kind of process is killed in turn, some hang for a while, and in each
stage a native call never returns. At the end the launcher is killed, and with it the service, which is started anew.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from loadtests.load.chaos.stuck import THREADS
from loadtests.load.processes import PROCESSES

Action = Literal["kill", "hang", "stick"]
LAUNCHER = "launcher"

HANGS_PER_ROUND = 3
HANG_S = (2.0, 8.0)
GAP_S = (1.0, 6.0)


@dataclass(frozen=True)
class PlannedFault:
    """One fault to come.

    Attributes:
        gap_s: seconds of quiet before it.
        hang_s: how long the process stands still; 0 for a kill.
    """

    process: str
    action: Action
    gap_s: float
    hang_s: float


@dataclass(frozen=True)
class Fault:
    """One fault that happened. Times in seconds of the monotonic clock.

    Attributes:
        at: when the signal was sent.
        until: when it ended: at once for a kill, with SIGCONT for a hang, with the process for a call that sticks.
        recovered: first success of a probe sent after ``at``; None if there was none.
        replaced: when, after the recovery, a process of this kind was seen again; None if none was.
    """

    process: str
    action: Action
    at: float
    until: float
    recovered: float | None
    replaced: float | None


def plan_faults(rng: random.Random) -> Iterator[PlannedFault]:
    """Plan faults without end: in each round each kind is killed once, a call in each stage sticks, and some processes
    hang, in random order.
    """
    while True:
        kills: list[tuple[str, Action]] = [(process, "kill") for process in PROCESSES]
        hangs: list[tuple[str, Action]] = [
            (process, "hang") for process in rng.sample(sorted(PROCESSES), HANGS_PER_ROUND)
        ]
        sticks: list[tuple[str, Action]] = [(process, "stick") for process in THREADS]
        faults = kills + hangs + sticks
        rng.shuffle(faults)
        for process, action in faults:
            yield PlannedFault(process, action, rng.uniform(*GAP_S), rng.uniform(*HANG_S) if action == "hang" else 0.0)
