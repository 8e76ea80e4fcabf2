"""What stands for the silence behind a window: in the file, in the graph of the CPU, and on the host of the NPU."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.mel.log_mel import log_mel
from deployments.shared.frames import HOP_LENGTH, N_FRAMES
from npu_encoder.calibration import GAP, SilenceAverages
from npu_encoder.cpu.openvino import OpenVinoBackend
from npu_encoder.errors import ModelFormatError, UnsupportedPrecisionError
from npu_encoder.graphs.silent_keys import silent_keys
from npu_encoder.loading import load_backend
from npu_encoder.npu.audio_encoder import PLANS, AudioEncoder, PlanName
from npu_encoder.npu.gemm import NumpyGemm
from npu_encoder.silence import (
    LAYER_STRIDE,
    STATE_STRIDE,
    TrailingSilence,
    read_description,
    read_silence,
    sampled_positions,
    write_silence,
)
from npu_encoder.weights import read_weights
from tests.support.paths import DEMO_MODEL

FloatArray = NDArray[np.float32]

N_AUDIO_CTX, D_MODEL, N_LAYERS = 1500, 192, 4
FRAMES = 704
DESCRIPTION = {"windows": 3, "passed": True}


def noise_log_mel(seed: int, frames: int) -> FloatArray:
    """Return the log-mel of so many frames of noise and of silence behind it, 30 s in all."""
    samples = np.random.default_rng(seed).normal(0, 3000, max(frames, 1) * HOP_LENGTH) * bool(frames)
    out = np.empty((80, N_FRAMES), np.float32)
    log_mel(samples.astype(np.int16), out)
    return out


def cosines(a: FloatArray, b: FloatArray) -> FloatArray:
    found: FloatArray = np.vecdot(a, b) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return found


@pytest.fixture(scope="module")
def averages() -> SilenceAverages:
    """Averages of the demo model over two windows of noise, of 3 and 6 s."""
    found = SilenceAverages(DEMO_MODEL, precision="f32")
    for seed, frames in ((1, 300), (2, 600)):
        found.add(noise_log_mel(seed, frames), frames)
    return found


@pytest.fixture(scope="module")
def file(averages: SilenceAverages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("silence") / "silence.npz"
    write_silence(path, averages.result(noise_log_mel(0, 0)), DESCRIPTION)
    return path


def test_the_file_gives_back_what_was_written(file: Path, averages: SilenceAverages) -> None:
    silence = read_silence(file)
    assert silence.layers.shape == (N_LAYERS, 94, D_MODEL)
    assert silence.states.shape == (750, D_MODEL)
    assert read_description(file) == DESCRIPTION
    np.testing.assert_allclose(silence.states, averages.result(noise_log_mel(0, 0)).states, rtol=1e-3, atol=1e-3)


def test_only_silence_is_averaged(averages: SilenceAverages) -> None:
    one = SilenceAverages(DEMO_MODEL, precision="f32")
    states = one.add(noise_log_mel(1, 300), 300)
    found = one.result(noise_log_mel(0, 0)).states
    positions = sampled_positions(N_AUDIO_CTX, STATE_STRIDE)
    behind = positions >= 150 + GAP
    np.testing.assert_allclose(found[behind], states[positions[behind]], rtol=1e-5)
    both = averages.result(noise_log_mel(0, 0)).states
    until_second = behind & (positions < 300 + GAP)
    np.testing.assert_allclose(both[until_second], found[until_second], rtol=1e-4, atol=1e-5)
    assert not np.allclose(both[behind & ~until_second], found[behind & ~until_second], rtol=1e-4, atol=1e-5)


def test_every_position_has_its_row(averages: SilenceAverages) -> None:
    silence = averages.result(noise_log_mel(0, 0))
    for ctx in (0, 96, 350, 1499, 1500):
        counted = np.exp(silence.log_counts(ctx)).sum()
        assert counted == pytest.approx(max(0, N_AUDIO_CTX - LAYER_STRIDE * silence.layer_rows(ctx).start))


@pytest.mark.parametrize(
    ("ctx", "length"), [(96, 544), (352, 544), (416, 800), (640, 800), (1024, 1104), (1400, 1500), (1500, 1500)]
)
def test_windows_of_many_lengths_have_few_numbers_of_states(file: Path, ctx: int, length: int) -> None:
    silence = read_silence(file)
    places = TrailingSilence(silence.layers, np.arange(750, dtype=np.float32)[:, np.newaxis], N_AUDIO_CTX).tail(ctx)
    assert ctx + len(places) == length
    assert (np.diff(places[:, 0]) >= 0).all()
    if len(places):
        assert abs(2 * places[0, 0] - ctx) <= 6
        assert places[-1, 0] >= 746


def test_behind_a_full_window_nothing_follows(file: Path) -> None:
    weights = read_weights(DEMO_MODEL, file)
    assert silent_keys(weights, 0, N_AUDIO_CTX) is None
    log_mel = noise_log_mel(3, 3000)
    states, expected = (np.empty((1500, D_MODEL), np.float32) for _ in range(2))
    OpenVinoBackend(DEMO_MODEL, precision="f32", silence=file).encode([log_mel], [states])
    OpenVinoBackend(DEMO_MODEL, precision="f32").encode([log_mel], [expected])
    np.testing.assert_array_equal(states, expected)


def encode(log_mel: FloatArray, precision: str, silence: Path | None) -> FloatArray:
    """Encode the first frames of a window; skip where the CPU lacks the precision."""
    states = np.empty((FRAMES // 2, D_MODEL), np.float32)
    try:
        backend = OpenVinoBackend(DEMO_MODEL, precision=precision, silence=silence)
    except UnsupportedPrecisionError as error:
        pytest.skip(str(error))
    backend.encode([np.ascontiguousarray(log_mel[:, :FRAMES])], [states])
    return states


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_trimmed_window_has_the_states_of_a_full_one(precision: str, tmp_path: Path) -> None:
    """Averages over one window are what its own states attend to: only that they are thinned out makes a difference."""
    full = noise_log_mel(4, FRAMES - 60)
    averages = SilenceAverages(DEMO_MODEL, precision="f32")
    expected = averages.add(full, FRAMES - 60)[: FRAMES // 2]
    write_silence(tmp_path / "silence.npz", averages.result(noise_log_mel(0, 0)), DESCRIPTION)
    found = cosines(encode(full, precision, tmp_path / "silence.npz"), expected)
    without = cosines(encode(full, precision, None), expected)
    assert np.median(found) > max(0.99, float(np.median(without)))


@pytest.mark.parametrize("plan", ["bf16", "int8"])
def test_the_host_of_the_npu_attends_to_the_same(file: Path, plan: PlanName) -> None:
    log_mel = noise_log_mel(5, FRAMES)
    states = np.empty((FRAMES // 2, D_MODEL), np.float32)
    encoder = AudioEncoder(read_weights(DEMO_MODEL, file), NumpyGemm(), PLANS[plan])
    encoder.encode([np.ascontiguousarray(log_mel[:, :FRAMES])], [states])
    expected, without = encode(log_mel, "f32", file), encode(log_mel, "f32", None)
    assert np.median(cosines(states, expected)) > max(0.99, float(np.median(cosines(states, without))))


def test_a_file_of_another_model_is_refused(file: Path, tmp_path: Path) -> None:
    silence = read_silence(file)
    other = tmp_path / "silence.npz"
    write_silence(other, TrailingSilence(silence.layers[:2], silence.states, silence.n_audio_ctx), DESCRIPTION)
    with pytest.raises(ModelFormatError, match="was made for another model"):
        read_weights(DEMO_MODEL, other)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "silence.npz"
    if content is None:
        np.savez(path, layers=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ModelFormatError, match="amanuensis model tune"):
        read_silence(path)


def test_ctranslate2_cannot_use_it(file: Path) -> None:
    with pytest.raises(ValueError, match="cannot attend"):
        load_backend(DEMO_MODEL, backend="ctranslate2", silence=file)
