"""Frames are placed in the time of the recording: holes become silence, clocks that are set anew do not."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from av.audio.frame import AudioFrame

from deployments.mel.timeline import LONGEST_HOLE_S, SHORTEST_HOLE_S, Timeline

RATE = 8_000
FRAME_S = 0.1
STREAM: Any = SimpleNamespace(time_base=Fraction(1, 1000))


def frame(at_s: float | None, sample_format: str = "s16", rate: int = RATE) -> AudioFrame:
    samples = np.full((1, round(FRAME_S * rate)), 100, np.uint8 if sample_format == "u8" else np.int16)
    one = AudioFrame.from_ndarray(samples, sample_format, "mono")
    one.sample_rate, one.pts = rate, None if at_s is None else round(at_s * 1000)
    return one


def placed(timeline: Timeline, *frames: AudioFrame) -> list[float]:
    """Seconds from the start of each frame of sound to that of the recording."""
    starts, now_s = [], 0.0
    for one in timeline.place(frames, STREAM):
        if one.to_ndarray().flat[0] == 100:
            starts.append(round(now_s, 3))
        now_s += one.samples / one.sample_rate
    assert timeline.end_s == pytest.approx(now_s)
    return starts


def test_frames_that_follow_each_other_are_only_joined() -> None:
    timeline = Timeline(0.0, 3600.0)
    assert placed(timeline, frame(0.0), frame(0.1), frame(None), frame(0.3)) == [0, 0.1, 0.2, 0.3]
    assert timeline.holes == []


@pytest.mark.parametrize("sample_format", ["s16", "u8"])
def test_a_hole_becomes_silence_and_is_told(sample_format: str) -> None:
    timeline = Timeline(0.0, 3600.0)
    assert placed(timeline, frame(0.0, sample_format), frame(3.6, sample_format)) == [0, 3.6]
    assert np.allclose(timeline.holes, [(0.1, 3.6)])
    silence = next(one for one in Timeline(0.0, 3600.0).place([frame(2.0, sample_format)], STREAM))
    assert set(silence.to_ndarray().flat) == {128 if sample_format == "u8" else 0}


def test_a_late_start_is_silence_and_no_hole() -> None:
    timeline = Timeline(10.0, 3600.0)
    assert placed(timeline, frame(14.9)) == [4.9]
    assert timeline.holes == []


def test_jitter_is_made_up_for_once_it_has_come_to_something() -> None:
    step_s = FRAME_S + 0.03
    starts = placed(Timeline(0.0, 3600.0), *(frame(i * step_s) for i in range(20)))
    assert all(abs(start_s - i * step_s) <= SHORTEST_HOLE_S + 0.001 for i, start_s in enumerate(starts))


def test_the_next_recording_of_a_chain_begins_where_the_last_one_ends() -> None:
    frames = [frame(i * FRAME_S) for i in range(30)]
    assert placed(Timeline(0.0, 3600.0), *frames, frame(0.0), frame(0.1))[-2:] == [3.0, 3.1]


def test_a_clock_that_jumps_far_was_set() -> None:
    assert placed(Timeline(0.0, LONGEST_HOLE_S), frame(0.0), frame(95_443.7), frame(95_443.8)) == [0, 0.1, 0.2]


def test_a_clock_that_counts_samples_is_not_believed_behind_a_change_of_the_rate() -> None:
    assert placed(Timeline(0.0, 3600.0), frame(0.0), frame(9.0, rate=16_000)) == [0, 0.1]


def test_what_was_lost_before_a_frame_is_silence_though_the_clock_does_not_know() -> None:
    timeline = Timeline(0.0, 3600.0)

    def frames() -> Any:
        yield frame(0.0)
        timeline.lose(0.5)
        yield frame(0.1)

    sound = [one for one in timeline.place(frames(), STREAM) if one.to_ndarray().any()]
    assert len(sound) == 2
    assert np.allclose(timeline.holes, [(0.1, 0.6)])
