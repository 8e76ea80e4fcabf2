"""Live audio in every format becomes the same 16 kHz samples, however it was cut into pieces."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deployments.ingress.live.audio_formats import (
    A_LAW,
    A_LAW_SAMPLES,
    MU_LAW,
    MU_LAW_SAMPLES,
    PCM_16_KHZ,
    PCM_24_KHZ,
    AudioFormat,
    AudioReader,
)
from deployments.ingress.live.resampling import HALF, Resampler

FORMATS = [PCM_24_KHZ, PCM_16_KHZ, MU_LAW, A_LAW]


def tone(hertz: float, rate: int, seconds: float = 1.0) -> NDArray[np.int16]:
    return (12_000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def strength(samples: NDArray[np.int16], hertz: float) -> float:
    """How strong a tone is in the middle of 16 kHz samples, as its amplitude."""
    middle = samples[2000:14_000].astype(np.float64) * np.hanning(12_000)
    return float(4 * abs(np.exp(-2j * np.pi * hertz * np.arange(12_000) / 16_000) @ middle) / 12_000)


@pytest.mark.parametrize("rate", [24_000, 8000])
def test_a_tone_keeps_its_pitch_and_strength(rate: int) -> None:
    resampled = Resampler(rate)(tone(1000, rate))
    assert abs(strength(resampled, 1000) - 12_000) < 60
    assert 0 <= 16_000 - len(resampled) <= HALF * 16_000 // rate


def test_what_16_khz_cannot_hold_does_not_come_back_as_another_tone() -> None:
    resampled = Resampler(24_000)(tone(10_500, 24_000))
    assert strength(resampled, 16_000 - 10_500) < 12, "60 dB below the tone"


@pytest.mark.parametrize("rate", [24_000, 8000])
def test_samples_are_where_they_were(rate: int) -> None:
    click = np.zeros(rate, np.int16)
    click[rate // 2] = 30_000
    assert int(np.argmax(Resampler(rate)(click))) == 8000


@given(st.sampled_from(FORMATS), st.lists(st.integers(0, 700), max_size=12))
def test_samples_do_not_depend_on_how_the_stream_was_cut(audio_format: AudioFormat, cuts: list[int]) -> None:
    data = np.random.default_rng(0).integers(0, 256, 4000, np.uint8).tobytes()
    whole = AudioReader(audio_format).read(data)
    reader, pieces, at = AudioReader(audio_format), [], 0
    for length in [*cuts, len(data)]:
        pieces.append(reader.read(data[at : at + length]))
        at += length
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize(("codec", "table"), [("pcm_mulaw", MU_LAW_SAMPLES), ("pcm_alaw", A_LAW_SAMPLES)])
def test_g711_is_decoded_as_ffmpeg_does(codec: str, table: NDArray[np.int16]) -> None:
    every = bytes(range(256))
    with av.open(io.BytesIO(every), format=codec.removeprefix("pcm_"), options={"sample_rate": "8000"}) as container:
        decoded = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    np.testing.assert_array_equal(table, decoded)


def test_a_format_knows_how_long_its_bytes_last() -> None:
    assert [each.seconds(48_000) for each in FORMATS] == [1.0, 1.5, 6.0, 6.0]
