"""The doctor's verdict and exit status, on the simulator and without any driver."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from npu_encoder import doctor
from npu_encoder.errors import DriverMissingError
from npu_encoder.npu.driver import load_driver
from npu_encoder.simulator.kernels import KernelShape, write_kernels
from tests.support.paths import DEMO_MODEL

MODEL = ["--model", str(DEMO_MODEL)]
without_pyxrt = pytest.mark.skipif(importlib.util.find_spec("pyxrt") is not None, reason="pyxrt is installed")


def test_simulated_device_is_well_and_says_that_it_is_simulated(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([*MODEL, "--simulator"]) == 0
    output = capsys.readouterr().out
    assert "SIMULATED" in output
    assert "known-answer GEMM in int8" in output
    assert "encoder in bf16: cosine" in output


@without_pyxrt
def test_missing_driver_is_never_replaced_by_the_simulator(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(MODEL) == 1
    output = capsys.readouterr().out
    assert "DriverMissingError" in output
    assert "/dev/accel/accel0" in output
    with pytest.raises(DriverMissingError, match="XRT system packages"):
        load_driver()


def test_kernels_that_do_not_fit_the_model_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_kernels(tmp_path, [KernelShape(128, 64, 256, "int8")])
    assert doctor.main([*MODEL, "--simulator", "--kernels", str(tmp_path)]) == 1
    assert "no int8 kernel fits K=192, N=576" in capsys.readouterr().out
