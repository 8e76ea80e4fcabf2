"""The spoken samples of tests/audio as audio and as encoder states, computed by CTranslate2's own encoder."""

from __future__ import annotations

import csv
import math
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from tests.support.paths import ROOT

DEMO_MODEL = ROOT / "tests" / "models" / "demo-en"
AUDIO = ROOT / "tests" / "audio"
SAMPLE_RATE = 16_000
BUCKET_S = 4


@dataclass(frozen=True)
class Clip:
    """One file: 16 kHz mono int16, and what is said in it."""

    name: str
    pcm: NDArray[np.int16]
    spoken: str

    @property
    def duration_s(self) -> float:
        return len(self.pcm) / SAMPLE_RATE


def load_clips() -> list[Clip]:
    """All clips of transcripts.tsv, the short ones (one sentence) first."""
    with (AUDIO / "transcripts.tsv").open(encoding="utf-8", newline="") as file:
        return [
            Clip(row["file"], pcm_of(AUDIO / row["file"]), row["spoken"])
            for row in csv.DictReader(file, delimiter="\t")
        ]


def encode(clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
    """Encoder states ``[frames, d_model]`` of each clip, padded to a multiple of 4 s."""
    encoder = ctranslate2.models.Whisper(str(DEMO_MODEL), compute_type="float32", intra_threads=1)
    return [_states(encoder, clip) for clip in clips]


def _states(encoder: Any, clip: Clip) -> NDArray[np.float32]:
    frames = 100 * BUCKET_S * math.ceil(clip.duration_s / BUCKET_S)
    audio = np.zeros(frames * SAMPLE_RATE // 100, np.float32)
    audio[: len(clip.pcm)] = clip.pcm / 32_768.0
    log_mel = np.ascontiguousarray(FeatureExtractor()(audio)[None, :, :frames])
    states = np.array(encoder.encode(ctranslate2.StorageView.from_array(log_mel)))
    return np.asarray(states[0], np.float32)


def pcm_of(path: Path) -> NDArray[np.int16]:
    """Return the samples of a 16 kHz mono wav file."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SAMPLE_RATE, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)
