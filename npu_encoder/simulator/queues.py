"""The commands of the hardware contexts, and the parts of the device that they take turns on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from npu_encoder.simulator.arguments import Gemm
from npu_encoder.simulator.enums import CommandState

NEW = CommandState.ERT_CMD_STATE_NEW


@dataclass(eq=False, slots=True)
class Command:
    """One started run.

    Attributes:
        gemm: the product that it computes; None if it computes nothing.
        outcome: the state that it ends in.
        effect: what it does to memory at its end.
        ends_at: the moment of its end, by the clock.
        stuck: whether it, or one before it in its context, takes longer than the driver allows: it does not end by
            itself.
        state: its state now; ``NEW`` until it ends.
    """

    gemm: Gemm | None
    outcome: CommandState
    effect: Callable[[], None]
    ends_at: float = inf
    stuck: bool = False
    state: CommandState = NEW


@dataclass(eq=False, slots=True)
class Queue:
    """The commands of one hardware context.

    Attributes:
        partition: index of the part of the device that runs them.
        started: number of commands so far.
        free_at: the moment at which the last of them ends: they end in the order of their start.
        commands: those in flight, oldest first.
    """

    partition: int
    started: int = 0
    free_at: float = -inf
    commands: list[Command] = field(default_factory=list)

    def tidy(self) -> None:
        """Forget the commands that have ended."""
        self.commands = [command for command in self.commands if command.state is NEW]

    @property
    def stuck_until(self) -> float | None:
        """The moment at which the driver will kill what the context is stuck in; None where it gets on."""
        return next((command.ends_at for command in self.commands if command.stuck and command.state is NEW), None)


@dataclass(eq=False, slots=True)
class Partition:
    """A part of the device that works on one command at a time.

    Attributes:
        free_at: the moment at which it has done all that it was given.
        latest: the context whose command it was given last; None before the first.
        switches: how often it was given a command of another context than before.
    """

    free_at: float = -inf
    latest: Queue | None = None
    switches: int = 0

    def turn_to(self, queue: Queue) -> bool:
        """Note that a command of ``queue`` is next; return whether the array must be configured anew for it."""
        switched = self.latest not in {None, queue}
        self.switches += switched
        self.latest = queue
        return switched
