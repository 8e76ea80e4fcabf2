"""Files as telephones, browsers, recorders, exchanges and films make them: each is read as its manifest says."""

from __future__ import annotations

import csv
import io
import os
import time
from pathlib import Path

import pytest

from deployments.mel.decoding import decode
from deployments.mel.track_decoding import AudioLimits, Recording
from deployments.shared.errors import InvalidAudioError
from loadtests.common.speech import CORPUS_VARIABLE, MANIFEST

pytestmark = pytest.mark.skipif(
    CORPUS_VARIABLE not in os.environ, reason="needs odd files: SPEECH_CORPUS names the directory of the corpus"
)

CORPUS = Path(os.environ.get(CORPUS_VARIABLE, ""))
LIMITS = AudioLimits(max_seconds=3660, max_channels=8, max_cpu_s=2)
JFK_S = 11.0
CASES = {
    "b01_mkv_17_audio_tracks.mkv": 3.0,
    "b01_mkv_video_aac_5_subtitles.mkv": JFK_S,
    "b02_mkv_ac3_first_then_aac.mkv": JFK_S,
    "b03_mp4_audio_starts_at_4.9s.mp4": 15.9,
    "b03_mp4_hole_of_3s_at_4s.mp4": 14.0,
    "b04_ogg_opus_dtx_gap_0.5s.ogg": 11.5,
    "b05_wav_data_0.wav": JFK_S,
    "b05_wav_data_2000000000.wav": JFK_S,
    "b05_wav_data_7fffffff.wav": JFK_S,
    "b05_wav_data_ffffffff.wav": JFK_S,
    "b07.3gp": JFK_S,
    "b07.aiff": JFK_S,
    "b07.amr": JFK_S,
    "b07.au": JFK_S,
    "b07.flv": JFK_S,
    "b07_ac3.mkv": JFK_S,
    "b08_chained.ogg": JFK_S,
    "b08_chrome_live.webm": JFK_S,
    "b08_cover_art_1.5MB.mp3": JFK_S,
    "b08_safari_fragmented.mp4": JFK_S,
}
"""Name -> seconds."""

SECONDS_ARE_OF_ANOTHER_READER = {"odd/made/mp3_damaged_middle.mp3"}
"""One that joins what it can read: here silence stands for what is damaged."""


def odd_files() -> list[dict[str, str]]:
    if CORPUS_VARIABLE not in os.environ:
        return []
    with (CORPUS / MANIFEST).open(encoding="utf-8", newline="") as manifest:
        rows = csv.DictReader(manifest, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row for row in rows if row["category"] == "odd"]


def read(path: Path) -> Recording:
    began = time.process_time()
    try:
        return decode(io.BytesIO(path.read_bytes()), LIMITS)
    finally:
        assert time.process_time() - began < 4


@pytest.mark.parametrize("row", odd_files(), ids=lambda row: row["file"])
def test_an_odd_file_is_read_or_refused_as_its_manifest_says(row: dict[str, str]) -> None:
    path, expected = CORPUS / row["file"], row["expect"]
    if expected.startswith(("reject", "clear 4xx")):
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


@pytest.mark.parametrize("name", CASES)
def test_what_others_reported_is_read_in_the_time_of_the_recording(name: str) -> None:
    recording = read(CORPUS / "cases" / name)
    assert recording.seconds == pytest.approx(CASES[name], abs=0.1)
    assert recording.mono.any()
    is_told = any(word in name for word in ("hole", "gap"))
    assert bool(recording.warnings) is is_told


def test_the_default_track_is_heard_though_a_silent_one_comes_first() -> None:
    assert read(CORPUS / "cases" / "b02_mkv_silent_first_default_second.mkv").mono.any()


def test_channels_that_cancel_each_other_out_are_heard() -> None:
    inverted = read(CORPUS / "cases" / "b06_stereo_phase_inverted.wav").mono
    left_only = read(CORPUS / "cases" / "b06_stereo_left_only.wav").mono
    assert inverted.astype(float).std() == pytest.approx(left_only.astype(float).std(), rel=0.01)
