"""Commands on their way through the device.

Commands of a partition run one after the other in the order of their start, whichever context they belong to. So the
end of a command is known when it starts, and nothing has to run in the background: the effects of a command happen
when somebody next looks at the device after its end, in the order of the commands' ends.

A command that takes longer than the driver allows is *stuck*: it holds up its own context only. The driver kills it
once nothing on the device has got on for a while, and what waits behind it in its context ends with it. Before Linux
6.17 the driver does not wait for that, and ends everything on the device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from math import inf

from npu_encoder.simulator.arguments import Gemm, Nonsense
from npu_encoder.simulator.compute import CheckedRows, compute, fill
from npu_encoder.simulator.config import SimulatorConfig
from npu_encoder.simulator.enums import CommandState
from npu_encoder.simulator.faults import RunFault
from npu_encoder.simulator.queues import NEW, Command, Partition, Queue

TIMEOUT = CommandState.ERT_CMD_STATE_TIMEOUT
ABORT = CommandState.ERT_CMD_STATE_ABORT


class Execution:
    """The device's cores and their queues. Safe to share between threads."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._clock = config.clock
        self._lock = threading.RLock()
        self._in_flight: list[Command] = []
        self._partitions = [Partition() for _ in range(config.partitions)]
        self._active_at = config.clock.monotonic()
        self._next_end = inf
        self._checked_rows = CheckedRows()

    @property
    def switches(self) -> int:
        """How often a part of the device was configured anew, because another context had its turn."""
        return sum(partition.switches for partition in self._partitions)

    def start(self, queue: Queue, task: Gemm | Nonsense, fault: RunFault) -> Command:
        """Queue a command. Blocks, as the driver does, while the context has as many in flight as it may."""
        while True:
            with self._lock:
                self.settle()
                queue.tidy()
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
                self._finish(command)
            self._next_end = min((command.ends_at for command in self._in_flight), default=inf)

    def release(self, queue: Queue) -> None:
        """Wait for the commands of a context that is given back, as long as the driver does; abort those that stay."""
        deadline = self._clock.monotonic() + self._config.release_s
        for command in tuple(queue.commands):
            self.wait(command, max(deadline - self._clock.monotonic(), 0.0))
        with self._lock:
            self._abort(command for command in queue.commands if command.state is NEW)

    def abort_all(self) -> None:
        """End all commands in flight, without any effect."""
        with self._lock:
            self._abort(iter(self._in_flight))

    def _submit(self, queue: Queue, task: Gemm | Nonsense, fault: RunFault) -> Command:
        queue.started += 1
        command = self._command(queue, task, fault)
        takes_s = self._duration(task, fault)
        stuck_until = queue.stuck_until
        if stuck_until is not None:
            self._hold(command, stuck_until, ABORT)
        elif takes_s > self._config.tdr_s:
            self._hold(command, self._begin(queue) + self._config.tdr_s, TIMEOUT)
        else:
            command.ends_at = queue.free_at = self._begin(queue) + takes_s
            if fault.takes_s is None:
                self._get_on(queue, command.ends_at)
        self._active_at = max(self._active_at, command.ends_at)
        queue.commands.append(command)
        self._in_flight.append(command)
        self._next_end = min(self._next_end, command.ends_at)
        if command.gemm:
            _count_reader(command.gemm, 1)
        return command

    def _begin(self, queue: Queue) -> float:
        """Return the moment at which the next command of ``queue`` begins to compute."""
        partition = self._partitions[queue.partition]
        turn_at = max(self._clock.monotonic(), partition.free_at, queue.free_at) + self._wake()
        switch_s = self._config.latency.switch_s if partition.turn_to(queue) else 0.0
        return turn_at + switch_s + self._config.latency.dispatch_s

    def _get_on(self, queue: Queue, until: float) -> None:
        """Note that the device works until then: a driver of today kills what is stuck only some time later."""
        self._partitions[queue.partition].free_at = until
        for command in self._in_flight:
            if command.stuck and not self._config.hang_resets_all:
                command.ends_at = max(command.ends_at, until + self._config.tdr_s)

    @staticmethod
    def _hold(command: Command, until: float, outcome: CommandState) -> None:
        command.stuck, command.ends_at, command.outcome, command.effect = True, until, outcome, _nothing

    def _finish(self, command: Command) -> None:
        if command.state is not NEW:
            return
        command.effect()
        self._end(command, command.outcome)
        if command.outcome is TIMEOUT and self._config.hang_resets_all:
            self._abort(iter(self._in_flight))

    def _abort(self, commands: Iterator[Command]) -> None:
        for command in tuple(commands):
            self._end(command, ABORT)

    def _command(self, queue: Queue, task: Gemm | Nonsense, fault: RunFault) -> Command:
        if isinstance(task, Nonsense):
            return Command(None, task.state, _nothing)
        return Command(task, fault.state, self._effect(queue, task, fault))

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
