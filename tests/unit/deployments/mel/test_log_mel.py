"""The log-mel equals faster-whisper's, whatever is in the window and however it is trimmed."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from deployments.mel.log_mel import log_mel
from deployments.mel.mel_filters import compute, mel_filters
from deployments.shared.frames import (
    BUCKETS,
    HOP_LENGTH,
    MEL_BINS,
    N_FRAMES,
    N_SAMPLES,
    SAMPLE_RATE,
    TRAILING_SILENCE,
    frames_for,
)
from tests.support.paths import AUDIO
from tests.support.spoken_clips import pcm_of

CLIPS = sorted(AUDIO.glob("*.wav"))
RNG = np.random.default_rng(0)

SYNTHETIC = {
    "empty": np.zeros(0, np.int16),
    "one sample": np.array([32767], np.int16),
    "shorter than the mirrored part": RNG.integers(-3000, 3000, 150).astype(np.int16),
    "ends on a hop": RNG.integers(-3000, 3000, 100 * HOP_LENGTH).astype(np.int16),
    "silence": np.zeros(SAMPLE_RATE, np.int16),
    "30 s of silence": np.zeros(N_SAMPLES, np.int16),
    "quiet noise": RNG.integers(-3, 4, 3 * SAMPLE_RATE).astype(np.int16),
    "30 s at full scale": RNG.integers(-32768, 32768, N_SAMPLES).astype(np.int16),
    "loud at the very end of 30 s": np.r_[np.zeros(N_SAMPLES - 10, np.int16), np.full(10, 30_000, np.int16)],
}


def computed(pcm: NDArray[np.int16], n_mels: int, frames: int) -> NDArray[np.float32]:
    out = np.full((n_mels, frames), np.nan, np.float32)
    log_mel(pcm, out)
    return out


def reference(pcm: NDArray[np.int16], n_mels: int) -> NDArray[np.float32]:
    audio = np.pad(pcm.astype(np.float32) / 32_768, (0, N_SAMPLES - len(pcm)))
    mel: NDArray[np.float32] = FeatureExtractor(feature_size=n_mels)(audio)[:, :N_FRAMES]
    return mel


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("clip", CLIPS, ids=lambda path: path.stem)
def test_clips_equal_faster_whisper(clip: Path, n_mels: int) -> None:
    pcm = pcm_of(clip)
    np.testing.assert_allclose(computed(pcm, n_mels, N_FRAMES), reference(pcm, n_mels), rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("name", SYNTHETIC)
def test_extremes_equal_faster_whisper(name: str, n_mels: int) -> None:
    pcm = SYNTHETIC[name]
    np.testing.assert_allclose(computed(pcm, n_mels, N_FRAMES), reference(pcm, n_mels), rtol=0, atol=1e-4)


@pytest.mark.parametrize("frames", [100, 224, 236, 237, 238, 500])
def test_trimmed_is_the_start_of_the_full_window(frames: int) -> None:
    pcm = pcm_of(AUDIO / "08_flite-kal16.wav")  # touches 239 frames: also trimmed shorter than the audio
    np.testing.assert_array_equal(computed(pcm, 80, frames), computed(pcm, 80, N_FRAMES)[:, :frames])


def test_calls_leave_nothing_behind() -> None:
    long, short = pcm_of(AUDIO / "12_flite-rms-long.wav"), pcm_of(AUDIO / "05_flite-slt.wav")
    before = computed(short, 80, 300)
    computed(long, 128, N_FRAMES)
    np.testing.assert_array_equal(computed(short, 80, 300), before)


def test_threads_do_not_disturb_each_other() -> None:
    windows = [pcm_of(clip) for clip in CLIPS[:4]]
    expected = [computed(pcm, 80, 400) for pcm in windows]
    wrong: list[int] = []

    def work(i: int) -> None:
        if not all(np.array_equal(computed(windows[i], 80, 400), expected[i]) for _ in range(50)):
            wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_writes_into_a_part_of_a_larger_array() -> None:
    slab = np.full((2, 80, 400), 7, np.float32)
    log_mel(pcm_of(AUDIO / "05_flite-slt.wav"), slab[1])
    assert (slab[0] == 7).all()
    assert np.isfinite(slab[1]).all()


def test_more_than_30_s_is_an_error() -> None:
    with pytest.raises(ValueError, match="30 s"):
        computed(np.zeros(N_SAMPLES + 1, np.int16), 80, N_FRAMES)


@pytest.mark.parametrize("n_mels", MEL_BINS)
def test_filters_are_those_of_librosa(n_mels: int) -> None:
    np.testing.assert_allclose(mel_filters(n_mels).toarray(), compute(n_mels), rtol=0, atol=1e-8)


def test_buckets_fit_the_encoder() -> None:
    assert list(BUCKETS) == sorted(set(BUCKETS))
    assert BUCKETS[-1] == N_FRAMES
    assert all(frames % 2 == 0 for frames in BUCKETS)
    assert not {frames // 2 for frames in BUCKETS} & {80, 128}


def test_bucket_is_the_smallest_with_silence_after_the_window() -> None:
    for n_samples in range(0, N_SAMPLES - TRAILING_SILENCE, 997):
        frames = frames_for(n_samples)
        smaller = [bucket for bucket in BUCKETS if bucket < frames]
        assert frames * HOP_LENGTH >= n_samples + TRAILING_SILENCE
        assert all(bucket * HOP_LENGTH < n_samples + TRAILING_SILENCE for bucket in smaller)


def test_the_last_bucket_takes_a_full_window() -> None:
    assert frames_for(N_SAMPLES) == N_FRAMES
    assert frames_for(10 * SAMPLE_RATE, (500, 1000)) == 1000


def test_a_window_longer_than_every_bucket_is_an_error() -> None:
    with pytest.raises(ValueError, match="1000 frames"):
        frames_for(10 * SAMPLE_RATE + 1, (500, 1000))
