"""A scenario: a JSON file that says what the simulated device is and what goes wrong with it.

The file's faults are read anew whenever it changes, so they can be injected while a service works on the simulator. For
example, this device takes 0.6 ms per product, and its third run from now on hangs::

    {"gemm_s": 0.0006, "faults": [{"kind": "run_hangs", "at": [3]}]}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from npu_encoder.errors import InvalidScenarioError
from npu_encoder.simulator import faults
from npu_encoder.simulator.config import TDR_S, SimulatorConfig
from npu_encoder.simulator.faults import Fault, FaultPlan, Site, When
from npu_encoder.simulator.kernels import KernelShape
from npu_encoder.simulator.latency import LatencyModel
from npu_encoder.simulator.module import create_module

FaultKind = Literal[
    "module_missing",
    "open_fails",
    "xclbin_missing",
    "xclbin_corrupt",
    "kernel_missing",
    "contexts_exhausted",
    "allocation_fails",
    "locking_fails",
    "host_memory_fails",
    "device_lost",
    "run_late",
    "run_hangs",
    "run_aborts",
    "run_errs",
    "instructions_missing",
    "output_zeros",
    "output_constant",
    "output_nan",
]

LATE_S = 6.0
"""Seconds that ``run_late`` lasts: longer than anybody waits for a run, if ``tdr_s`` allows for it."""

CONSTANT: Final = 42

FAULTS: Final[dict[FaultKind, Callable[[When], Fault]]] = {
    "module_missing": lambda _: faults.module_missing(),
    "open_fails": faults.open_fails,
    "xclbin_missing": lambda when: faults.xclbin_missing("gemm.xclbin", when),
    "xclbin_corrupt": faults.xclbin_corrupt,
    "kernel_missing": lambda when: faults.kernel_missing("MLIR_AIE", when),
    "contexts_exhausted": faults.contexts_exhausted,
    "allocation_fails": faults.allocation_fails,
    "locking_fails": faults.locking_fails,
    "host_memory_fails": faults.host_memory_fails,
    "device_lost": faults.device_lost,
    "run_late": lambda when: faults.run_late(LATE_S, when),
    "run_hangs": faults.run_hangs,
    "run_aborts": faults.run_aborts,
    "run_errs": faults.run_errs,
    "instructions_missing": faults.instructions_missing,
    "output_zeros": faults.output_zeros,
    "output_constant": lambda when: faults.output_constant(CONSTANT, when),
    "output_nan": faults.output_nan,
}


class FaultEntry(BaseModel):
    """One fault of a scenario.

    Attributes:
        kind: the name of a function in ``faults``.
        at: the calls that it strikes at, counted from 1 since the file changed; empty: every call.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FaultKind
    at: tuple[int, ...] = ()

    def as_fault(self) -> Fault:
        """Return the fault for a plan."""
        return FAULTS[self.kind](faults.nth(*self.at) if self.at else faults.always)


class Scenario(BaseModel):
    """The content of the file.

    Attributes:
        gemm_s: seconds per product, with no other delay but ``switch_s``; None: what Strix Halo is said to take.
        switch_s: seconds for a change of context, where ``gemm_s`` is given.
        columns_per_context: simulates a firmware that partitions space: see ``SimulatorConfig``.
        exact_commands: see ``SimulatorConfig``; about 50 prove all kernels, from then on the device is for timing only
            and its products are wrong.
        tdr_s: see ``SimulatorConfig``.
        hang_resets_all: see ``SimulatorConfig``.
        faults: what goes wrong.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    gemm_s: float | None = Field(None, gt=0)
    switch_s: float = Field(0.0, ge=0)
    columns_per_context: int | None = Field(None, ge=1, le=8)
    exact_commands: int | None = Field(None, ge=0)
    tdr_s: float = Field(TDR_S, gt=0)
    hang_resets_all: bool = False
    faults: tuple[FaultEntry, ...] = ()

    def config(self) -> SimulatorConfig:
        """Return the configuration of the device."""
        return SimulatorConfig(
            latency=LatencyModel.for_window(self.gemm_s, 1, self.switch_s) if self.gemm_s else LatencyModel(),
            columns_per_context=self.columns_per_context,
            exact_commands=self.exact_commands,
            tdr_s=self.tdr_s,
            hang_resets_all=self.hang_resets_all,
        )


class ScenarioFaults(FaultPlan):
    """The faults of a scenario's file; a change of the file replaces them and starts their counts anew."""

    __slots__ = ("_changed_at", "_path")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._changed_at = 0

    def strike(self, site: Site, shape: KernelShape | None = None) -> Fault | None:
        changed_at = self._path.stat().st_mtime_ns
        if changed_at != self._changed_at:
            self._changed_at = changed_at
            self.begin_anew(_faults(read_scenario(self._path)))
        return super().strike(site, shape)


def simulate(path: Path | None) -> ModuleType:
    """Make the simulated module of a scenario; None means the default device, which does not fail.

    Raises:
        InvalidScenarioError: names what is wrong with the file.
        ModuleNotFoundError: if the scenario says so.
    """
    if path is None:
        return create_module()
    return create_module(read_scenario(path).config(), ScenarioFaults(path))


def read_scenario(path: Path) -> Scenario:
    """Read a scenario.

    Raises:
        InvalidScenarioError: names what is wrong with the file.
    """
    try:
        return Scenario.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InvalidScenarioError(
            f"The simulator's scenario {path} cannot be used; correct the file: {error}"
        ) from error


def _faults(scenario: Scenario) -> Sequence[Fault]:
    return [entry.as_fault() for entry in scenario.faults]
