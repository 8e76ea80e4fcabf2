"""The doctor's checks of the NPU, on the simulator and without any driver."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from npu_encoder.doctor import Question, examine_npu
from npu_encoder.errors import DriverMissingError, NoKernelError
from npu_encoder.npu.driver import load_driver
from npu_encoder.simulator.kernels import KernelShape, write_kernels
from tests.support.paths import DEMO_MODEL

without_pyxrt = pytest.mark.skipif(importlib.util.find_spec("pyxrt") is not None, reason="pyxrt is installed")


def test_every_check_of_a_simulated_device_is_told_in_order() -> None:
    observations = list(examine_npu(Question(DEMO_MODEL, kernels=None, simulator=True)))
    assert all(observation.is_fine for observation in observations)
    texts = [observation.text.partition(":")[0] for observation in observations]
    assert texts == [
        "driver",
        "kernels",
        "device",
        "known-answer GEMM in bf16",
        "known-answer GEMM in int8",
        "encoder in bf16",
        "encoder in int8",
    ]


@without_pyxrt
def test_missing_driver_is_never_replaced_by_the_simulator() -> None:
    texts = []
    with pytest.raises(DriverMissingError):
        texts += [each.text for each in examine_npu(Question(DEMO_MODEL, kernels=None, simulator=False))]
    with pytest.raises(DriverMissingError, match="XRT system packages"):
        load_driver()


@without_pyxrt
def test_the_system_is_described_before_the_driver_is_missed() -> None:
    checks = examine_npu(Question(DEMO_MODEL, kernels=None, simulator=False))
    assert [next(checks).text.split()[0] for _ in range(3)] == ["Linux", "/dev/accel/accel0", "memlock"]


def test_kernels_that_do_not_fit_the_model_are_named(tmp_path: Path) -> None:
    write_kernels(tmp_path, [KernelShape(128, 64, 256, "int8")])
    with pytest.raises(NoKernelError, match="no int8 kernel fits K=192, N=576"):
        list(examine_npu(Question(DEMO_MODEL, tmp_path, simulator=True)))
