"""Commands on their way through the device.

Commands of a partition run one after the other in the order of their start, whichever context they belong to. So the
end of a command is known when it starts, and nothing has to run in the background: the effects of a command happen
when somebody next looks at the device after its end, in the order of the commands' ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from npu_encoder.simulator.arguments import Gemm, Nonsense
from npu_encoder.simulator.compute import CheckedRows, compute, fill
from npu_encoder.simulator.config import SimulatorConfig
from npu_encoder.simulator.enums import CommandState
from npu_encoder.simulator.faults import RunFault

NEW = CommandState.ERT_CMD_STATE_NEW
COMPLETED = CommandState.ERT_CMD_STATE_COMPLETED
TIMEOUT = CommandState.ERT_CMD_STATE_TIMEOUT
ABORT = CommandState.ERT_CMD_STATE_ABORT


@dataclass(eq=False, slots=True)
class Command:
    """One started run.

    Attributes:
        gemm: the product that it computes; None if it computes nothing.
        ends_at: the moment of its end, by the clock.
        outcome: the state that it ends in.
        effect: what it does to memory at its end.
        state: its state now; ``NEW`` until it ends.
    """

    gemm: Gemm | None
    ends_at: float
    outcome: CommandState
    effect: Callable[[], None]
    state: CommandState = NEW


@dataclass(eq=False, slots=True)
class Queue:
    """The commands of one hardware context.

    Attributes:
        partition: index of the part of the device that runs them.
        started: number of commands so far.
        commands: those in flight.
    """

    partition: int
    started: int = 0
    commands: list[Command] = field(default_factory=list)


class Execution:
    """The device's cores and their queues. Safe to share between threads."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._clock = config.clock
        self._lock = threading.RLock()
        self._in_flight: list[Command] = []
        self._free_at = [-inf] * config.partitions
        self._active_at = config.clock.monotonic()
        self._next_end = inf
        self._checked_rows = CheckedRows()

    def start(self, queue: Queue, task: Gemm | Nonsense, fault: RunFault) -> Command:
        """Queue a command. Blocks, as the driver does, while the context has as many in flight as it may."""
        while True:
            with self._lock:
                self.settle()
                queue.commands = [command for command in queue.commands if command.state is NEW]
                if len(queue.commands) < self._config.max_commands:
                    return self._submit(queue, task, fault)
                room_at = min(command.ends_at for command in queue.commands)
            self._clock.sleep(room_at - self._clock.monotonic())

    def wait(self, command: Command, timeout_s: float) -> CommandState:
        """Wait for the command's end and return its state; ``TIMEOUT`` if it has not ended after ``timeout_s``."""
        deadline = self._clock.monotonic() + timeout_s
        while self.state(command) is NEW:
            now = self._clock.monotonic()
            if now >= deadline:
                return TIMEOUT
            self._clock.sleep(min(command.ends_at, deadline) - now)
        return command.state

    def state(self, command: Command) -> CommandState:
        """Return the command's state now."""
        self.settle()
        return command.state

    def settle(self) -> None:
        """Let everything happen that the clock says has happened."""
        now = self._clock.monotonic()
        if now < self._next_end:
            return
        with self._lock:
            due = sorted((c for c in self._in_flight if c.ends_at <= now), key=lambda c: c.ends_at)
            for command in due:
                command.effect()
                self._end(command, command.outcome)
            self._next_end = min((command.ends_at for command in self._in_flight), default=inf)

    def abort_all(self) -> None:
        """End all commands in flight, without any effect."""
        with self._lock:
            for command in tuple(self._in_flight):
                self._end(command, ABORT)

    def _submit(self, queue: Queue, task: Gemm | Nonsense, fault: RunFault) -> Command:
        queue.started += 1
        command = self._command(queue, task, fault)
        begins_at = max(self._clock.monotonic(), self._free_at[queue.partition]) + self._wake()
        takes_s = self._duration(task, fault)
        if takes_s > self._config.tdr_s:
            takes_s, command.outcome, command.effect = self._config.tdr_s, TIMEOUT, _nothing
        command.ends_at = begins_at + self._config.latency.dispatch_s + takes_s
        self._free_at[queue.partition] = command.ends_at
        self._active_at = max(self._active_at, command.ends_at)
        queue.commands.append(command)
        self._in_flight.append(command)
        self._next_end = min(self._next_end, command.ends_at)
        if command.gemm:
            _count_reader(command.gemm, 1)
        return command

    def _command(self, queue: Queue, task: Gemm | Nonsense, fault: RunFault) -> Command:
        if isinstance(task, Nonsense):
            return Command(None, inf, task.state, _nothing)
        return Command(task, inf, fault.state, self._effect(queue, task, fault))

    def _effect(self, queue: Queue, gemm: Gemm, fault: RunFault) -> Callable[[], None]:
        if not fault.writes:
            return _nothing
        if fault.output is not None:
            bits = fault.output
            return lambda: fill(gemm, bits)
        exact = self._config.exact_commands
        if exact is not None and queue.started > exact:
            return lambda: self._checked_rows.compute(gemm)
        return lambda: compute(gemm)

    def _duration(self, task: Gemm | Nonsense, fault: RunFault) -> float:
        if fault.takes_s is not None:
            return fault.takes_s
        return 0.0 if isinstance(task, Nonsense) else self._config.latency.gemm(task.shape, self._config.share)

    def _wake(self) -> float:
        idle_s = self._clock.monotonic() - self._active_at
        return self._config.latency.wake_s if idle_s > self._config.latency.idle_s else 0.0

    def _end(self, command: Command, state: CommandState) -> None:
        command.state = state
        self._in_flight.remove(command)
        if command.gemm:
            _count_reader(command.gemm, -1)


def _count_reader(gemm: Gemm, change: int) -> None:
    for buffer in (gemm.a, gemm.b, gemm.c):
        buffer.readers += change


def _nothing() -> None:
    """Do nothing, as a command that fails."""
