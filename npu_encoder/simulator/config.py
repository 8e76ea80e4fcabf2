"""The kind of device that is simulated."""

from __future__ import annotations

from dataclasses import dataclass, field

from npu_encoder.simulator.clock import PolledClock, RealClock
from npu_encoder.simulator.kernels import COLUMNS
from npu_encoder.simulator.latency import LatencyModel

TDR_S = 2.0
RELEASE_S = 2.0


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """The simulated device and the strictness of its module.

    Attributes:
        latency: how long things take.
        clock: the clock by which they take it.
        columns_per_context: None lets all contexts share all eight columns of cores in turn, as today's firmware does.
            A number simulates a firmware that partitions space, which no Strix Halo has: so many columns for each
            context alone.
        max_contexts: hardware contexts that exist at a time.
        max_commands: commands in flight on a context; starting one more blocks until one has ended.
        max_opens: number of times that a process may open the device before it is refused.
        tdr_s: seconds after which the driver kills a command, counted from the last moment at which anything on the
            device got on. Other contexts work on meanwhile.
        hang_resets_all: whether the driver kills a command although others get on, and resets all contexts then, as it
            does before Linux 6.17.
        release_s: seconds for which giving a context back waits for its commands.
        strict: whether to raise ``StrictnessError`` where the real module or device would silently go wrong.
        exact_commands: number of commands per context that are computed; later ones only take their time and yield
            nonsense, except for the rows that ``CheckedRows`` computes. None computes everything. Unless it is None,
            host and device share the memory of buffers: the host pays for what its driver does and nothing else.
    """

    latency: LatencyModel = field(default_factory=LatencyModel)
    clock: PolledClock = field(default_factory=RealClock)
    columns_per_context: int | None = None
    max_contexts: int = 16
    max_commands: int = 4
    max_opens: int = 64
    tdr_s: float = TDR_S
    hang_resets_all: bool = False
    release_s: float = RELEASE_S
    strict: bool = False
    exact_commands: int | None = None

    def __post_init__(self) -> None:
        if self.columns_per_context is not None and not 0 < self.columns_per_context <= COLUMNS:
            raise ValueError(
                f"The setting columns_per_context is {self.columns_per_context}: choose 1 to {COLUMNS}, or None"
            )

    @property
    def timing_only(self) -> bool:
        """Whether the device is there to take its time, not to compute."""
        return self.exact_commands is not None

    @property
    def partitions(self) -> int:
        """Parts of the device that compute at the same time."""
        return COLUMNS // self.columns_per_context if self.columns_per_context else 1

    @property
    def share(self) -> float:
        """The part of the device's columns that a partition has."""
        return self.columns_per_context / COLUMNS if self.columns_per_context else 1.0
