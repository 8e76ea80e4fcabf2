"""What the page makes of the microphone's samples before it sends them."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np
import pytest

from tests.support.page_scripts import Scripts, needs_node

pytestmark = needs_node

RATE = 24_000


def test_samples_become_little_endian_and_loud_ones_are_cut(scripts: Scripts) -> None:
    found = scripts.run("pcm.js", "[...new Uint8Array(page.toPcm16(given))]", [0, 1, -1, 2, -2, 0.5])
    assert [*np.frombuffer(bytes(found), "<i2")] == [0, 32767, -32767, 32767, -32767, 16384]


def test_the_peak_is_the_loudest(scripts: Scripts) -> None:
    assert scripts.run("pcm.js", "page.peakOf(given)", [0.1, -0.75, 0.2]) == 0.75


def test_a_recording_is_a_wav_file(scripts: Scripts) -> None:
    write = """page.wavOf(given.map((piece) => Int16Array.from(piece)), 24000)
        .arrayBuffer()
        .then((bytes) => [...new Uint8Array(bytes)])"""
    file = bytes(scripts.run("wav.js", write, [[1, -2], [300]]))
    with wave.open(io.BytesIO(file)) as found:
        assert (found.getframerate(), found.getnchannels(), found.getsampwidth()) == (RATE, 1, 2)
        assert [*np.frombuffer(found.readframes(9), "<i2")] == [1, -2, 300]


@pytest.mark.parametrize("rate", [48_000, 44_100, 96_000, 16_000])
def test_a_tone_stays_the_same_at_another_rate(scripts: Scripts, rate: int) -> None:
    found = resampled(scripts, rate, 440.0)
    expected = np.sin(2 * np.pi * 440 * np.arange(len(found)) / RATE)
    assert len(found) > 0.19 * RATE
    assert np.abs(found - expected)[200:].max() < 0.01


def test_what_the_new_rate_cannot_hold_is_left_out(scripts: Scripts) -> None:
    assert np.abs(resampled(scripts, 48_000, 16_000.0)[200:]).max() < 0.01


def test_the_same_rate_changes_nothing(scripts: Scripts) -> None:
    assert scripts.run("resampling.js", "[...new page.Resampler(24000, 24000).resample([0.5, 1])]") == [0.5, 1]


def resampled(scripts: Scripts, rate: int, hertz: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A fifth of a second of a tone, in pieces as browsers give them, at the rate of the service."""
    run = """{
        const resampler = new page.Resampler(given.rate, 24000);
        const made = [];
        for (let first = 0; first < given.rate / 5; first += 128) {
            const tone = (_, index) => Math.sin((2 * Math.PI * given.hertz * (first + index)) / given.rate);
            made.push(...resampler.resample(Float32Array.from({ length: 128 }, tone)));
        }
        return made;
    }"""
    return np.array(scripts.run("resampling.js", run, {"rate": rate, "hertz": hertz}))
