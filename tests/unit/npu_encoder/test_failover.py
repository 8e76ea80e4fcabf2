"""The CPU in the place of an NPU that failed, and the scenarios that make a simulated one fail."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from npu_encoder.errors import (
    DeviceAbortError,
    DeviceError,
    DeviceFailedError,
    DeviceLostError,
    DriverMissingError,
    InvalidScenarioError,
    PoisonedOutputError,
)
from npu_encoder.failover import FailoverBackend
from npu_encoder.graphs.compile import resolve_precision
from npu_encoder.loading import NpuOptions, load_backend
from npu_encoder.simulator.scenario import FAULTS, read_scenario
from tests.support.paths import DEMO_MODEL

CPU = f"cpu:openvino-{resolve_precision(openvino.Core(), 'auto')}"
"""The device that takes over: in bf16 where this CPU has it."""

LOG_MEL: NDArray[np.float32] = np.random.default_rng(7).uniform(-1, 1, (80, 200)).astype(np.float32)


class ScenarioFile:
    """A scenario that a test changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version = 0
        self.write()

    def write(self, *faults: dict[str, Any], **device: Any) -> None:
        self.path.write_text(json.dumps({"gemm_s": 1e-5, **device, "faults": faults}))
        # Files written within one tick of the clock would look unchanged.
        self._version += 1
        os.utime(self.path, ns=(self._version, self._version))


@pytest.fixture
def scenario(tmp_path: Path) -> ScenarioFile:
    return ScenarioFile(tmp_path / "scenario.json")


@contextmanager
def open_npu(scenario: ScenarioFile) -> Iterator[Any]:
    with closing(_load_npu(scenario)) as backend:
        yield backend


@contextmanager
def with_failover(scenario: ScenarioFile) -> Iterator[FailoverBackend]:
    cpu = load_backend(DEMO_MODEL, backend="openvino")
    with closing(FailoverBackend(lambda: _load_npu(scenario), cpu)) as backend:
        yield backend


def _load_npu(scenario: ScenarioFile) -> Any:
    return load_backend(DEMO_MODEL, backend="xrt", npu=NpuOptions(simulator=True, scenario=scenario.path))


def encode(backend: Any) -> tuple[str, NDArray[np.float32]]:
    states = np.empty((100, 192), np.float32)
    return backend.encode([LOG_MEL], [states]), states


def test_a_fault_can_be_injected_while_the_device_runs(scenario: ScenarioFile) -> None:
    with open_npu(scenario) as backend:
        _, expected = encode(backend)
        scenario.write({"kind": "run_aborts", "at": [3]})
        with pytest.raises(DeviceAbortError):
            encode(backend)
        assert backend.health.recoveries == 1
        np.testing.assert_array_equal(encode(backend)[1], expected)


def test_the_cpu_takes_over_when_the_npu_has_failed_for_good(scenario: ScenarioFile) -> None:
    with with_failover(scenario) as backend:
        assert encode(backend)[0] == "npu:xdna2-bf16-simulated"
        assert str(backend.health.status) == "healthy"
        scenario.write({"kind": "output_zeros"})
        with pytest.raises(PoisonedOutputError):
            encode(backend)
        device, states = encode(backend)
        assert device == backend.device == CPU
        assert str(backend.health.status) == "degraded"
        assert "known-answer" in str(backend.health.reason)
        np.testing.assert_array_equal(states, encode(load_backend(DEMO_MODEL, backend="openvino"))[1])


@dataclass(frozen=True, eq=False)
class Arrays:
    log_mel: NDArray[np.float32]
    states: NDArray[np.float32]


def test_the_cpu_takes_over_while_windows_keep_coming(scenario: ScenarioFile) -> None:
    with with_failover(scenario) as backend:
        encode(backend)
        scenario.write({"kind": "output_zeros"})
        windows = [Arrays(LOG_MEL, np.empty((100, 192), np.float32)) for _ in range(12)]
        arrivals = iter(windows)
        outcomes = list(backend.encode_each(lambda: next(arrivals, None), 8))
        assert len(outcomes) == len(windows)
        on_cpu = [window for window, outcome in outcomes if outcome == CPU]
        failed = [outcome for _, outcome in outcomes if isinstance(outcome, DeviceError)]
        assert len(on_cpu) + len(failed) == len(windows)
        assert on_cpu[-1] is windows[-1]
        expected = encode(load_backend(DEMO_MODEL, backend="openvino"))[1]
        for window in on_cpu:
            np.testing.assert_array_equal(window.states, expected)


def test_the_cpu_takes_over_from_a_device_that_is_lost_at_rest(scenario: ScenarioFile) -> None:
    with with_failover(scenario) as backend:
        scenario.write({"kind": "device_lost", "at": [1]})
        backend.probe_device()
        assert backend.device == CPU
        assert "No such device" in str(backend.health.reason)
        assert encode(backend)[0] == CPU


def test_a_device_that_fails_at_the_start_is_replaced_too_but_only_on_request(scenario: ScenarioFile) -> None:
    scenario.write({"kind": "module_missing"})
    with pytest.raises(DriverMissingError), open_npu(scenario):
        pass
    with with_failover(scenario) as backend:
        assert encode(backend)[0] == CPU
        assert backend.health.status == "degraded"


def test_without_failover_a_failed_device_stays_failed(scenario: ScenarioFile) -> None:
    with open_npu(scenario) as backend:
        scenario.write({"kind": "device_lost"})
        with pytest.raises(DeviceLostError):
            encode(backend)
        scenario.write()
        with pytest.raises(DeviceFailedError):
            encode(backend)


@pytest.mark.parametrize("content", ["", "{", '{"speed": 3}', '{"faults": [{"kind": "gremlins"}]}'])
def test_a_bad_scenario_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(InvalidScenarioError, match=r"bad\.json"):
        read_scenario(path)


@pytest.mark.parametrize("kind", FAULTS)
def test_every_kind_of_fault_can_be_asked_for(scenario: ScenarioFile, kind: str) -> None:
    scenario.write({"kind": kind, "at": [1]})
    (entry,) = read_scenario(scenario.path).faults
    assert entry.as_fault() is not None
