"""The file that says what the simulated device is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest

from npu_encoder.errors import InvalidScenarioError
from npu_encoder.simulator import LatencyModel, SimulatorConfig
from npu_encoder.simulator.scenario import FAULTS, FaultKind, read_scenario, simulate


def written(directory: Path, **content: Any) -> Path:
    path = directory / "scenario.json"
    path.write_text(json.dumps(content))
    return path


def test_default_is_a_device_of_today(tmp_path: Path) -> None:
    config = read_scenario(written(tmp_path)).config()
    assert config.latency == LatencyModel()
    assert config.latency.switch_s == 0.0027
    assert config.columns_per_context is None
    assert not config.hang_resets_all


def test_every_knob_reaches_the_device(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        gemm_s=0.5,
        switch_s=0.25,
        columns_per_context=4,
        exact_commands=3,
        tdr_s=7.0,
        hang_resets_all=True,
    )
    config: SimulatorConfig = read_scenario(path).config()
    assert (config.latency.gemm_s, config.latency.switch_s, config.latency.dispatch_s) == (0.5, 0.25, 0.0)
    assert (config.columns_per_context, config.exact_commands, config.tdr_s) == (4, 3, 7.0)
    assert config.hang_resets_all


def test_switches_are_free_where_only_products_are_timed(tmp_path: Path) -> None:
    assert read_scenario(written(tmp_path, gemm_s=0.5)).config().latency.switch_s == 0


@pytest.mark.parametrize("content", [{"gemms": 1}, {"switch_s": -1}, {"faults": [{"kind": "run_sings"}]}])
def test_mistakes_are_named(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(InvalidScenarioError, match=next(iter(content))):
        read_scenario(written(tmp_path, **content))


def test_every_kind_of_fault_can_be_made() -> None:
    assert FAULTS.keys() == set(get_args(FaultKind))
    for make in FAULTS.values():
        assert make(lambda call: call.number == 1).when is not None


def test_faults_are_read_anew_when_the_file_changes(tmp_path: Path) -> None:
    path = written(tmp_path)
    xrt = simulate(path)
    xrt.device(0)
    written(tmp_path, faults=[{"kind": "open_fails"}])
    os.utime(path, ns=(1, 1))
    with pytest.raises(RuntimeError, match="No such device"):
        xrt.device(0)
