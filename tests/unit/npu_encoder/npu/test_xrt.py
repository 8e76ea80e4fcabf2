"""The encoder over the simulated NPU, from ``load_backend`` on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from npu_encoder.backend import DeviceHealth, EncoderBackend
from npu_encoder.errors import (
    DeviceAbortError,
    DeviceError,
    DeviceFailedError,
    InvalidWindowError,
    NoKernelError,
    UnsupportedPrecisionError,
)
from npu_encoder.loading import NpuOptions, load_backend
from npu_encoder.npu.audio_encoder import PLANS, AudioEncoder
from npu_encoder.npu.driver import Driver
from npu_encoder.npu.gemm import NumpyGemm
from npu_encoder.npu.kernels import read_kernels
from npu_encoder.npu.xrt import XrtBackend, write_simulated_kernels
from npu_encoder.npu.xrt_gemm import XrtGemm
from npu_encoder.simulator import FaultPlan, LatencyModel, SimulatorConfig, VirtualClock, create_module, faults
from npu_encoder.simulator.kernels import kernels_for, write_kernels
from npu_encoder.weights import read_dimensions, read_weights
from tests.support.paths import DEMO_MODEL
from tests.support.spoken_clips import SAMPLE_RATE, Clip, load_clips

FRAMES = (400, 256, 400)

MANY_RUNS = 60
"""More than loading takes, and a few windows."""


@pytest.fixture(scope="module")
def log_mels() -> list[NDArray[np.float32]]:
    random = np.random.default_rng(3)
    return [random.uniform(-1, 1, (80, frames)).astype(np.float32) for frames in FRAMES]


def simulated(precision: str) -> EncoderBackend:
    return load_backend(DEMO_MODEL, backend="xrt", precision=precision, npu=NpuOptions(simulator=True))


@pytest.fixture(scope="module")
def backends() -> Iterator[Callable[[str], EncoderBackend]]:
    """Sound devices by their precision, each opened once."""
    opened: dict[str, EncoderBackend] = {}

    def backend(precision: str) -> EncoderBackend:
        if precision not in opened:
            opened[precision] = simulated(precision)
        return opened[precision]

    yield backend
    for each in opened.values():
        each.close()


def encode(backend: EncoderBackend | AudioEncoder, log_mels: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    states = [np.empty((log_mel.shape[1] // 2, 192), np.float32) for log_mel in log_mels]
    backend.encode(log_mels, states)
    return states


def encode_until_it_fails(backend: XrtBackend, log_mels: list[NDArray[np.float32]]) -> None:
    for _ in range(MANY_RUNS):
        encode(backend, log_mels)


def token_cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    cosines: NDArray[np.float32] = np.vecdot(a, b) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return cosines


@pytest.mark.parametrize(
    ("precision", "device"),
    [
        ("int8", "npu:xdna2-int8-simulated"),
        ("bf16", "npu:xdna2-bf16-simulated"),
        ("int8-bf16-fc2", "npu:xdna2-int8-bf16-simulated"),
    ],
)
def test_states_are_those_of_the_same_encoder_on_the_host(
    backends: Callable[[str], EncoderBackend], log_mels: list[NDArray[np.float32]], precision: str, device: str
) -> None:
    backend = backends(precision)
    assert backend.device == device
    host = AudioEncoder(read_weights(DEMO_MODEL), NumpyGemm(), next(PLANS[name] for name in PLANS if name == precision))
    for states, expected in zip(encode(backend, log_mels), encode(host, log_mels), strict=True):
        if precision == "int8":
            np.testing.assert_array_equal(states, expected)
        else:  # bfloat16 sums differ from CPU to CPU in the order in which they are added
            assert token_cosines(states, expected).min() > 0.999


def test_window_does_not_depend_on_its_batch(
    backends: Callable[[str], EncoderBackend], log_mels: list[NDArray[np.float32]]
) -> None:
    backend = backends("int8")
    for log_mel, states in zip(log_mels, encode(backend, log_mels), strict=True):
        np.testing.assert_array_equal(encode(backend, [log_mel])[0], states)


@dataclass(frozen=True, eq=False)
class Arrays:
    log_mel: NDArray[np.float32]
    states: NDArray[np.float32]

    @classmethod
    def of(cls, log_mel: NDArray[np.float32]) -> Arrays:
        return cls(log_mel, np.full((log_mel.shape[1] // 2, 192), np.nan, np.float32))


def test_windows_join_and_leave_one_by_one(
    backends: Callable[[str], EncoderBackend], log_mels: list[NDArray[np.float32]]
) -> None:
    backend = backends("int8")
    expected = encode(backend, log_mels)
    first, invalid, second, third = map(Arrays.of, [log_mels[0], np.zeros((80, 401), np.float32), *log_mels[1:]])
    arrivals = iter([first, invalid, None, second, None, None, third])
    outcomes = list(backend.encode_each(lambda: next(arrivals, None), 2))
    assert {id(window) for window, _ in outcomes} == {id(window) for window in (first, invalid, second, third)}
    for window, outcome in outcomes:
        assert isinstance(outcome, InvalidWindowError) if window is invalid else outcome == backend.device
    for window, states in zip((first, second, third), expected, strict=True):
        np.testing.assert_array_equal(window.states, states)


def test_windows_of_a_failed_context_come_back_and_those_that_follow_are_encoded(
    tmp_path: Path, log_mels: list[NDArray[np.float32]]
) -> None:
    backend = faulty(tmp_path, faults.run_aborts(faults.nth(MANY_RUNS)))
    expected = encode(backend, log_mels[:1])[0]
    windows = [Arrays.of(log_mels[0]) for _ in range(16)]
    arrivals = iter(windows)
    outcomes = list(backend.encode_each(lambda: next(arrivals, None), 16))
    assert len(outcomes) == len(windows)
    failed = [window for window, outcome in outcomes if isinstance(outcome, DeviceAbortError)]
    assert 1 <= len(failed) <= 4
    for window, outcome in outcomes:
        if window not in failed:
            assert outcome == backend.device
            np.testing.assert_array_equal(window.states, expected)
    assert backend.health.recoveries == 1
    backend.close()


@pytest.mark.parametrize("share_xclbins", [True, False])
def test_windows_go_through_a_layer_together_so_that_the_device_switches_seldom(
    tmp_path: Path, share_xclbins: bool
) -> None:
    shapes = kernels_for(read_dimensions(DEMO_MODEL), [400], ["bf16"])
    write_kernels(tmp_path, shapes, share_xclbins=share_xclbins)
    clock = VirtualClock(poll_s=1e-5)
    xrt = create_module(SimulatorConfig(clock=clock, latency=LatencyModel(gemm_s=0.01)))
    gemm = XrtGemm(Driver(xrt, simulated=True, clock=clock), read_kernels(tmp_path, simulated=True))
    backend = XrtBackend(DEMO_MODEL, gemm)
    execution = xrt.device._npu.execution
    before = execution.switches
    windows = [Arrays.of(np.zeros((80, 400), np.float32)) for _ in range(16)]
    arrivals = iter(windows)
    assert all(outcome == backend.device for _, outcome in backend.encode_each(lambda: next(arrivals, None), 16))
    switches = (execution.switches - before) / len(windows)
    products = 4 * read_dimensions(DEMO_MODEL).n_layers
    assert switches == 0 if share_xclbins else 0 < switches <= 0.35 * products
    backend.close()


def test_a_probe_finds_a_device_that_was_lost_at_rest(tmp_path: Path) -> None:
    write_simulated_kernels(tmp_path, read_dimensions(DEMO_MODEL))
    plan = FaultPlan()
    gemm = XrtGemm(
        Driver(create_module(SimulatorConfig(), plan), simulated=True), read_kernels(tmp_path, simulated=True)
    )
    backend = XrtBackend(DEMO_MODEL, gemm)
    backend.probe_device()
    assert backend.health == DeviceHealth("healthy")
    plan.begin_anew([faults.run_aborts(faults.nth(1))])
    backend.probe_device()
    assert str(backend.health.status) == "healthy"
    assert backend.health.recoveries == 1
    plan.begin_anew([faults.device_lost(faults.nth(1))])
    backend.probe_device()
    assert str(backend.health.status) == "failed"
    assert "No such device" in str(backend.health.reason)
    backend.close()


def speech(clip: Clip) -> NDArray[np.float32]:
    """Return the clip's log-mel ``[80, frames]``, padded to a multiple of 4 s."""
    samples = 4 * SAMPLE_RATE * math.ceil(clip.duration_s / 4)
    audio = np.zeros(samples, np.float32)
    audio[: len(clip.pcm)] = clip.pcm / 32_768.0
    return np.ascontiguousarray(FeatureExtractor()(audio)[:, : samples // 160])


def faulty(directory: Path, fault: faults.Fault) -> XrtBackend:
    write_simulated_kernels(directory, read_dimensions(DEMO_MODEL))
    driver = Driver(create_module(SimulatorConfig(), FaultPlan([fault])), simulated=True)
    return XrtBackend(DEMO_MODEL, XrtGemm(driver, read_kernels(directory, simulated=True)), precision="int8")


@pytest.mark.parametrize(("precision", "window_cosine"), [("int8", 0.99), ("bf16", 0.999)])
def test_states_of_real_speech_are_close_to_float32(
    backends: Callable[[str], EncoderBackend], precision: str, window_cosine: float
) -> None:
    log_mels = [speech(clip) for clip in load_clips()[:3]]
    backend, reference = backends(precision), load_backend(DEMO_MODEL, backend="ctranslate2", precision="float32")
    for states, expected in zip(encode(backend, log_mels), encode(reference, log_mels), strict=True):
        cosine = np.vdot(states, expected) / (np.linalg.norm(states) * np.linalg.norm(expected))
        assert cosine >= window_cosine


def test_window_fails_with_the_device_and_the_next_one_succeeds(
    tmp_path: Path, log_mels: list[NDArray[np.float32]]
) -> None:
    backend = faulty(tmp_path, faults.run_aborts(faults.nth(MANY_RUNS)))
    expected = encode(backend, log_mels[:1])
    with pytest.raises(DeviceAbortError):
        encode_until_it_fails(backend, log_mels[:1])
    assert backend.health.recoveries == 1
    np.testing.assert_array_equal(encode(backend, log_mels[:1])[0], expected[0])
    backend.close()


def test_failed_device_stays_failed_and_says_why(tmp_path: Path, log_mels: list[NDArray[np.float32]]) -> None:
    backend = faulty(tmp_path, faults.output_zeros(faults.from_nth(MANY_RUNS)))
    with pytest.raises(DeviceError, match="known-answer"):
        encode_until_it_fails(backend, log_mels[:1])
    with pytest.raises(DeviceFailedError, match="known-answer"):
        encode(backend, log_mels[:1])
    assert backend.health.status == "failed"
    backend.close()


def test_windows_that_do_not_fit_and_unknown_precisions_are_rejected(tmp_path: Path) -> None:
    backend = simulated("auto")
    with pytest.raises(InvalidWindowError):
        backend.encode([np.zeros((80, 401), np.float32)], [np.zeros((200, 192), np.float32)])
    backend.close()
    with pytest.raises(UnsupportedPrecisionError, match="int3"):
        simulated("int3")
    with pytest.raises(NoKernelError, match="no kernel manifest"):
        load_backend(DEMO_MODEL, backend="xrt", npu=NpuOptions(kernels=tmp_path, simulator=True))
