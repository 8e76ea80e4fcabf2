"""Filter banks equal torchaudio's, which are Kaldi's, whatever the sound is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.diarizer.filter_banks import BANKS, HOP, WINDOW, filter_banks
from deployments.shared.frames import SAMPLE_RATE
from tests.support.paths import AUDIO
from tests.support.spoken_clips import pcm_of

CLIPS = sorted(AUDIO.glob("*.wav"))[::4]
RNG = np.random.default_rng(0)
TIME = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE

SYNTHETIC = {
    "one frame": RNG.integers(-3000, 3000, WINDOW).astype(np.int16),
    "a sample short of two frames": RNG.integers(-3000, 3000, WINDOW + HOP - 1).astype(np.int16),
    "two frames": RNG.integers(-3000, 3000, WINDOW + HOP).astype(np.int16),
    "silence": np.zeros(SAMPLE_RATE, np.int16),
    "quiet noise": RNG.integers(-2, 3, SAMPLE_RATE).astype(np.int16),
    "full scale": RNG.integers(-32768, 32768, SAMPLE_RATE).astype(np.int16),
    "tone": (12_000 * np.sin(2 * np.pi * 440 * TIME)).astype(np.int16),
    "constant": np.full(SAMPLE_RATE, 5000, np.int16),
}


def of_torchaudio(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    import torch  # noqa: PLC0415  (seconds of CPU, which only the worker that runs these tests spends)
    from torchaudio.compliance import kaldi  # noqa: PLC0415  (see above)

    waveform = torch.from_numpy(pcm.astype(np.float32))[None]
    banks = kaldi.fbank(waveform, num_mel_bins=BANKS, dither=0.0, window_type="povey", sample_frequency=SAMPLE_RATE)
    found: NDArray[np.float32] = banks.numpy()
    return found


@pytest.mark.parametrize("clip", CLIPS, ids=lambda path: path.stem)
def test_clips_equal_kaldi(clip: Path) -> None:
    pcm = pcm_of(clip)
    np.testing.assert_allclose(filter_banks(pcm), of_torchaudio(pcm), rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", [name for name in SYNTHETIC if name != "constant"])
def test_synthetic_sounds_equal_kaldi(name: str) -> None:
    found, expected = filter_banks(SYNTHETIC[name]), of_torchaudio(SYNTHETIC[name])
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    # A pure tone leaves banks that hold nothing but rounding, whose logarithm is anybody's.
    heard = expected > expected.max() - 20.0
    np.testing.assert_allclose(found[heard], expected[heard], rtol=0, atol=2e-3)


def test_what_is_shorter_than_a_frame_is_one_frame() -> None:
    for n_samples in (0, 1, WINDOW - 1):
        pcm = SYNTHETIC["one frame"][:n_samples]
        filled = np.concatenate((pcm, np.zeros(WINDOW - n_samples, np.int16)))
        assert np.array_equal(filter_banks(pcm), filter_banks(filled))
        assert filter_banks(pcm).shape == (1, BANKS)


def test_a_constant_offset_is_silence() -> None:
    np.testing.assert_array_equal(filter_banks(SYNTHETIC["constant"]), filter_banks(SYNTHETIC["silence"]))
