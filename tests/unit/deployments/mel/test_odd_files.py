"""Files as telephones, browsers, recorders, exchanges and films make them: each is read as its manifest says."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest

from deployments.mel.decoding import decode
from deployments.mel.track_decoding import AudioLimits, Recording
from deployments.shared.errors import InvalidAudioError
from loadtests.common.speech import CORPUS_VARIABLE
from tests.support.odd_files import IN_THE_TIME_OF_THE_RECORDING, corpus, expects_refusal, odd_files

pytestmark = pytest.mark.skipif(
    CORPUS_VARIABLE not in os.environ, reason="needs odd files: SPEECH_CORPUS names the directory of the corpus"
)

LIMITS = AudioLimits(max_seconds=3660, max_channels=8, max_cpu_s=2)
SECONDS_ARE_OF_ANOTHER_READER = {"odd/made/mp3_damaged_middle.mp3"}
"""One that joins what it can read: here silence stands for what is damaged."""


def read(path: Path) -> Recording:
    began = time.process_time()
    try:
        return decode(io.BytesIO(path.read_bytes()), LIMITS)
    finally:
        assert time.process_time() - began < 4


@pytest.mark.parametrize("row", odd_files(), ids=lambda row: row["file"])
def test_an_odd_file_is_read_or_refused_as_its_manifest_says(row: dict[str, str]) -> None:
    path, expected = corpus() / row["file"], row["expect"]
    if expects_refusal(row):
        with pytest.raises(InvalidAudioError, match=r"^This is |^The "):
            read(path)
        return
    try:
        recording = read(path)
    except InvalidAudioError:
        assert any(word in expected for word in ("reject", "error", "empty", "must not hang")), expected
        return
    if row["expect_s"] and row["file"] not in SECONDS_ARE_OF_ANOTHER_READER:
        assert recording.seconds == pytest.approx(float(row["expect_s"]), abs=0.1)


@pytest.mark.parametrize("name", IN_THE_TIME_OF_THE_RECORDING)
def test_what_others_reported_is_read_in_the_time_of_the_recording(name: str) -> None:
    recording = read(corpus() / "cases" / name)
    assert recording.seconds == pytest.approx(IN_THE_TIME_OF_THE_RECORDING[name], abs=0.1)
    assert recording.mono.any()
    is_told = any(word in name for word in ("hole", "gap"))
    assert bool(recording.warnings) is is_told


def test_the_default_track_is_heard_though_a_silent_one_comes_first() -> None:
    assert read(corpus() / "cases" / "b02_mkv_silent_first_default_second.mkv").mono.any()


def test_channels_that_cancel_each_other_out_are_heard() -> None:
    inverted = read(corpus() / "cases" / "b06_stereo_phase_inverted.wav").mono
    left_only = read(corpus() / "cases" / "b06_stereo_left_only.wav").mono
    assert inverted.astype(float).std() == pytest.approx(left_only.astype(float).std(), rel=0.01)
