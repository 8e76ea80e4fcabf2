"""Which of two channels is heard, or their mix."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from deployments.mel.channels import StereoMeter
from deployments.mel.decoding import decode
from deployments.mel.track_decoding import AudioLimits
from deployments.mel.windows import windows_of_channels
from deployments.shared.contracts import AudioOptions, SpeechOptions
from deployments.shared.errors import AudioTooLongError
from deployments.shared.frames import SAMPLE_RATE
from tests.support.paths import AUDIO
from tests.support.spoken_clips import pcm_of

RNG = np.random.default_rng(0)
VOICE, OTHER = RNG.normal(0, 3000, (2, 16_000)).astype(np.int16)
NOTHING = np.zeros_like(VOICE)


def channel(left: NDArray[np.int16], right: NDArray[np.int16], *, planar: bool) -> int | None:
    samples = np.stack([left, right])
    meter = StereoMeter()
    for start in range(0, samples.shape[1], 1000):
        part = np.ascontiguousarray(samples[:, start : start + 1000])
        part = part if planar else part.T.reshape(1, -1)
        frame = AudioFrame.from_ndarray(part, "s16p" if planar else "s16", "stereo")
        assert list(meter.measure([frame])) == [frame]
    return meter.channel


@pytest.mark.parametrize("planar", [True, False])
@pytest.mark.parametrize(
    ("left", "right", "alone"),
    [
        (VOICE, VOICE, None),
        (VOICE, OTHER, None),
        (VOICE, VOICE // 20, None),
        (VOICE, -VOICE, 0),
        (VOICE // 2, -VOICE // 2 - VOICE // 40, 1),
        (VOICE, NOTHING, 0),
        (NOTHING + 500, VOICE, 1),
        (NOTHING, NOTHING, None),
    ],
    ids=["same", "different", "quieter", "opposite", "nearly opposite", "dead", "dead with an offset", "silence"],
)
def test_the_mix_is_heard_unless_it_says_less(
    left: NDArray[np.int16], right: NDArray[np.int16], alone: int | None, planar: bool
) -> None:
    assert channel(left, right, planar=planar) == alone


def test_other_layouts_are_not_measured() -> None:
    meter = StereoMeter()
    frame = AudioFrame.from_ndarray(VOICE[None], "s16", "mono")
    assert list(meter.measure([frame])) == [frame]
    assert meter.channel is None


SEPARATE = AudioOptions(separate_channels=True)
LIMITS = AudioLimits(max_seconds=60, max_channels=8, max_cpu_s=5)
FIRST, SECOND = (pcm_of(AUDIO / name) for name in ("01_espeak-plain.wav", "05_flite-slt.wav"))


def call(*channels: NDArray[np.int16], rate: int = SAMPLE_RATE) -> io.BytesIO:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((len(channels), 2, rate, 0, "NONE", ""))
        writer.writeframes(np.stack(channels, axis=1).tobytes())
    return file


def test_each_channel_is_a_recording_of_its_own() -> None:
    length = min(len(FIRST), len(SECOND))
    recording = decode(call(FIRST[:length], SECOND[:length]), LIMITS, options=SEPARATE)
    np.testing.assert_array_equal(recording.pcm, [FIRST[:length], SECOND[:length]])
    assert len(decode(call(FIRST, FIRST), LIMITS).pcm) == 1
    assert len(decode(call(FIRST), LIMITS, options=SEPARATE).pcm) == 1


def test_windows_of_separate_channels_are_in_time_and_know_their_samples() -> None:
    pause = np.zeros(2 * SAMPLE_RATE, np.int16)
    length = 4 * SAMPLE_RATE + len(FIRST) + len(SECOND)
    caller, called = (np.zeros(length, np.int16) for _ in range(2))
    called[len(pause) : len(pause) + len(SECOND)] = SECOND
    caller[-len(FIRST) :] = FIRST
    pcm = np.stack([caller, called])
    windows = windows_of_channels(pcm, SpeechOptions(vad_filter=True, max_window_s=30.0, audio=SEPARATE))
    assert [(window.index, window.channel) for window in windows] == [(0, 2), (1, 1)]
    for window, channel in zip(windows, (called, caller), strict=True):
        start, end = round(window.start_s * SAMPLE_RATE), round(window.end_s * SAMPLE_RATE)
        np.testing.assert_array_equal(pcm.reshape(-1)[window.samples], channel[start:end])


@pytest.mark.parametrize(
    ("channels", "seconds", "fits"), [(2, 59, True), (2, 61, False), (4, 29, True), (4, 31, False)]
)
def test_many_channels_must_be_short(channels: int, seconds: int, fits: int) -> None:
    silent = np.zeros(8_000 * seconds, np.int16)
    upload = call(*[silent] * channels, rate=8_000)
    if fits:
        assert decode(upload, LIMITS, options=SEPARATE).pcm.shape == (channels, seconds * SAMPLE_RATE)
        return
    with pytest.raises(AudioTooLongError):
        decode(upload, LIMITS, options=SEPARATE)
