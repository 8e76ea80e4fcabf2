"""What a change of context takes, as the doctor measures it. Virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from npu_encoder.doctor.switching import SwitchCost, measure_switches
from npu_encoder.npu.driver import Driver
from npu_encoder.npu.kernels import read_kernels
from npu_encoder.simulator import LatencyModel, SimulatorConfig, VirtualClock, create_module
from npu_encoder.simulator.kernels import KernelShape, write_kernels

SHAPES = [KernelShape(m, 64, 256, "int8") for m in (128, 256)]


def measured(directory: Path, *, share_xclbins: bool) -> SwitchCost:
    write_kernels(directory, SHAPES, share_xclbins=share_xclbins)
    clock = VirtualClock(poll_s=1e-5)
    config = SimulatorConfig(clock=clock, latency=LatencyModel(gemm_s=0.001, switch_s=0.004))
    driver = Driver(create_module(config), simulated=True, clock=clock)
    return measure_switches(driver, read_kernels(directory, simulated=True))


def test_change_between_contexts_of_one_xclbin(tmp_path: Path) -> None:
    cost = measured(tmp_path, share_xclbins=True)
    assert cost.same_s == pytest.approx(0.004, rel=0.2)
    assert cost.other_s is None
    assert str(cost) == f"a change between two contexts of one xclbin takes {1000 * cost.same_s:.1f} ms"


def test_change_between_two_xclbins(tmp_path: Path) -> None:
    cost = measured(tmp_path, share_xclbins=False)
    assert cost.other_s == pytest.approx(0.004, rel=0.2)
    assert "between two xclbins" in str(cost)
