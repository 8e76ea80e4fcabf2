"""The odd files of the corpus that ``SPEECH_CORPUS`` names, and what is to become of each."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from loadtests.common.speech import CORPUS_VARIABLE, MANIFEST

JFK_S = 11.0
SPOKEN = {
    "b01_mkv_video_aac_5_subtitles.mkv": JFK_S,
    "b02_mkv_ac3_first_then_aac.mkv": JFK_S,
    "b02_mkv_silent_first_default_second.mkv": JFK_S,
    "b05_wav_data_0.wav": JFK_S,
    "b05_wav_data_2000000000.wav": JFK_S,
    "b05_wav_data_7fffffff.wav": JFK_S,
    "b05_wav_data_ffffffff.wav": JFK_S,
    "b06_stereo_left_only.wav": JFK_S,
    "b06_stereo_phase_inverted.wav": JFK_S,
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
"""Names of cases in which the same sentence is spoken -> seconds."""

IN_THE_TIME_OF_THE_RECORDING = SPOKEN | {
    "b01_mkv_17_audio_tracks.mkv": 3.0,
    "b03_mp4_audio_starts_at_4.9s.mp4": 15.9,
    "b03_mp4_hole_of_3s_at_4s.mp4": 14.0,
    "b04_ogg_opus_dtx_gap_0.5s.ogg": 11.5,
}


def corpus() -> Path:
    """Return the directory of the corpus."""
    return Path(os.environ[CORPUS_VARIABLE])


def odd_files() -> list[dict[str, str]]:
    """Return the rows of the manifest; none where there is no corpus."""
    if CORPUS_VARIABLE not in os.environ:
        return []
    with (corpus() / MANIFEST).open(encoding="utf-8", newline="") as manifest:
        rows = csv.DictReader(manifest, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row for row in rows if row["category"] == "odd"]


def expects_refusal(row: dict[str, str]) -> bool:
    """Return whether nothing can be read of a file."""
    return row["expect"].startswith(("reject", "clear 4xx"))
