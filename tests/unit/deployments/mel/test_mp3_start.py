"""The first frame of an mp3 is found behind other bytes, and nowhere else."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from deployments.mel.mp3_start import SEARCHED, first_frame

NOISE = np.random.default_rng(0).integers(-9000, 9000, (1, 48_000)).astype(np.int16)


def mpeg(codec: str, rate: int, bit_rate: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=codec.removeprefix("lib").replace("mp3lame", "mp3"), options={}) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(NOISE, "s16", "mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format, "mono", rate, 1152)
        for one in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(one))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("codec", "rate", "bit_rate"),
    [
        ("libmp3lame", 44_100, 128_000),
        ("libmp3lame", 16_000, 32_000),
        ("libmp3lame", 8_000, 16_000),
        ("mp2", 48_000, 192_000),
    ],
)
@pytest.mark.parametrize("junk", [0, 1, 100_000])
def test_frames_are_found_behind_junk(codec: str, rate: int, bit_rate: int, junk: int) -> None:
    sound = mpeg(codec, rate, bit_rate)
    start = sound.index(b"\xff")
    found = first_frame(np.random.default_rng(1).bytes(junk) + sound)
    assert found == junk + start


@pytest.mark.parametrize(
    "data", [b"", b"\xff", bytes(10_000), b"\xff" * 10_000, np.random.default_rng(2).bytes(2 * SEARCHED)]
)
def test_nothing_is_found_where_there_is_nothing(data: bytes) -> None:
    assert first_frame(data) is None


def test_the_search_ends() -> None:
    assert first_frame(bytes(SEARCHED) + mpeg("libmp3lame", 16_000, 32_000)) is None
