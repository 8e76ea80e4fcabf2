"""The doctor's checks of the NPU, on the simulator and without any driver."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from npu_encoder.doctor.examination import Observation, Question, Severity, examine_npu
from npu_encoder.doctor.machine import Machine
from npu_encoder.doctor.recording import RecordedMachine
from npu_encoder.errors import DriverMissingError, NoKernelError
from npu_encoder.npu.driver import load_driver
from npu_encoder.simulator.kernels import KernelShape, write_kernels
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
        "kernels",
        "known-answer GEMM in bf16 on Simulated NPU, 8 columns",
        "encoder in bf16",
        "known-answer GEMM in int8 on Simulated NPU, 8 columns",
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


def test_kernels_that_do_not_fit_the_model_are_named(tmp_path: Path) -> None:
    write_kernels(tmp_path, [KernelShape(128, 64, 256, "int8")])
    with pytest.raises(NoKernelError, match="no int8 kernel fits K=192, N=576"):
        list(examine_npu(Question(DEMO_MODEL, tmp_path, simulator=True), READY))
