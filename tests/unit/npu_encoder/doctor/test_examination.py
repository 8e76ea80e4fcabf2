"""The doctor's checks of the NPU, on the simulator and without any driver."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from npu_encoder.doctor.examination import Observation, Question, examine_npu
from npu_encoder.doctor.machine import Machine
from npu_encoder.doctor.recording import RecordedMachine
from npu_encoder.doctor.severity import Severity
from npu_encoder.errors import DeviceLostError, DeviceMemoryError, DriverMissingError, EncoderError, NoKernelError
from npu_encoder.npu.driver import load_driver
from npu_encoder.simulator import FaultPlan, LatencyModel, SimulatorConfig, create_module, faults
from npu_encoder.simulator.kernels import KernelShape, kernels_for, write_kernels
from npu_encoder.weights import read_dimensions
from tests.support.paths import DEMO_MODEL, RECORDED_MACHINES

without_pyxrt = pytest.mark.skipif(importlib.util.find_spec("pyxrt") is not None, reason="pyxrt is installed")


def recorded(name: str) -> Machine:
    return RecordedMachine((RECORDED_MACHINES / f"{name}.txt").read_text(encoding="utf-8"))


READY = recorded("ubuntu-26.04-ready")


def test_every_check_of_a_simulated_device_is_told_in_order() -> None:
    observations = list(examine_npu(Question(DEMO_MODEL, kernels=None, simulator=True), READY))
    assert all(observation.severity is Severity.FINE for observation in observations)
    texts = [observation.text.partition(":")[0] for observation in observations]
    assert texts == [
        "driver",
        "device",
        "kernels",
        "known-answer GEMM in bf16",
        "encoder in bf16",
        "known-answer GEMM in int8",
        "encoder in int8",
    ]


@without_pyxrt
def test_missing_driver_is_never_replaced_by_the_simulator() -> None:
    with pytest.raises(DriverMissingError):
        list(examine_npu(Question(DEMO_MODEL, kernels=None, simulator=False), READY))
    with pytest.raises(DriverMissingError, match="XRT system packages"):
        load_driver()


def told(machine: Machine) -> list[Observation]:
    """What is told before the error, where pyxrt cannot be imported."""
    observations: list[Observation] = []
    with pytest.raises(DriverMissingError):
        observations.extend(examine_npu(Question(DEMO_MODEL, kernels=None, simulator=False), machine))
    return observations


@without_pyxrt
def test_first_cause_is_the_one_failure_and_all_else_is_a_note() -> None:
    first, *others = told(recorded("ubuntu-24.04-gpu-recipe-iommu-off"))
    assert first.severity is Severity.FATAL
    assert first.text.startswith("The kernel was started with amd_iommu=off")
    assert {other.severity for other in others} == {Severity.NOTE}


@without_pyxrt
def test_machine_of_which_nothing_bad_is_known_is_asked_for_its_record() -> None:
    (only,) = told(READY)
    assert only.severity is Severity.NOTE
    assert "--record" in only.text


@dataclass(frozen=True)
class Pyxrt:
    """The simulator in the place of the hardware's module."""

    xrt: Any
    machine: Machine

    def examine(self, kernels: Path | None) -> tuple[list[Observation], EncoderError | None]:
        """Return what is told, and the error at its end."""
        observations: list[Observation] = []
        try:
            observations.extend(examine_npu(Question(DEMO_MODEL, kernels, simulator=False), self.machine))
        except EncoderError as error:
            return observations, error
        return observations, None


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pyxrt]:
    """Makes an import of pyxrt give a simulated device, which then passes for hardware."""

    def install(machine: str, *plan: faults.Fault) -> Pyxrt:
        xrt = create_module(SimulatorConfig(latency=LatencyModel.for_window(1e-4, 1)), FaultPlan(plan))
        xrt.__file__ = "/usr/lib/python3/dist-packages/pyxrt.so"
        monkeypatch.setitem(sys.modules, "pyxrt", xrt)
        return Pyxrt(xrt, recorded(machine))

    return install


def real_kernels(directory: Path) -> Path:
    """Write kernels that claim to be compiled ones."""
    write_kernels(directory, kernels_for(read_dimensions(DEMO_MODEL), [800], ["bf16"]))
    for path in directory.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"simulated": False}))
    return directory


def test_device_that_works_is_measured_and_what_is_good_to_know_is_told(
    hardware: Callable[..., Pyxrt], tmp_path: Path
) -> None:
    observations, error = hardware("ubuntu-26.04-shared-with-flm").examine(real_kernels(tmp_path))
    assert error is None
    texts = [observation.text for observation in observations]
    assert texts[0] == "driver: /usr/lib/python3/dist-packages/pyxrt.so"
    assert any(text.startswith("contexts: a change between two contexts of one xclbin takes") for text in texts)
    assert "ms, on one core of the CPU" in texts[-3]
    assert [each.severity for each in observations[-2:]] == [Severity.NOTE] * 2


def test_without_kernels_the_device_is_looked_at_all_the_same(hardware: Callable[..., Pyxrt]) -> None:
    observations, error = hardware("ubuntu-26.04-shared-with-flm").examine(None)
    assert isinstance(error, NoKernelError)
    assert [each.text.partition(":")[0] for each in observations[:2]] == ["driver", "device"]
    assert {each.severity for each in observations[2:]} == {Severity.NOTE}


def test_device_that_cannot_be_opened_is_explained_before_kernels_are_missed(hardware: Callable[..., Pyxrt]) -> None:
    pyxrt = hardware("ubuntu-25.10-no-plugin", faults.open_fails())
    observations, error = pyxrt.examine(None)
    assert isinstance(error, DeviceLostError)
    first = next(each for each in observations if each.severity is Severity.FATAL)
    assert first.text.startswith("XRT's plugin for the NPU")


def test_memory_that_cannot_be_locked_is_found_when_the_first_buffer_fails(
    hardware: Callable[..., Pyxrt], tmp_path: Path
) -> None:
    pyxrt = hardware("ubuntu-26.04-memlock", faults.locking_fails())
    observations, error = pyxrt.examine(real_kernels(tmp_path))
    assert isinstance(error, DeviceMemoryError)
    (only,) = [each for each in observations if each.severity is Severity.FATAL]
    assert only.text.startswith("Only 8192 KiB of memory may be locked")


def test_kernels_that_do_not_fit_the_model_are_named(tmp_path: Path) -> None:
    write_kernels(tmp_path, [KernelShape(128, 64, 256, "int8")])
    with pytest.raises(NoKernelError, match="no int8 kernel fits K=192, N=576"):
        list(examine_npu(Question(DEMO_MODEL, tmp_path, simulator=True), READY))
