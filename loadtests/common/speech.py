"""The speech that a load test sends: people where there are recordings of them, else the bundled synthetic voices.

The test model in the tree understands synthetic voices only, so it is sent those. Any other model is tested with a
corpus, a directory with a ``manifest.tsv``, which ``--speech`` or the environment variable ``SPEECH_CORPUS`` names.
Where there is none, the people among the tests' own recordings are sent beside the synthetic voices. The choice is the
same every time.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from deployments.mel.decoding import decode
from deployments.mel.track_decoding import AudioLimits
from loadtests.common.audio_files import MINUTES, AudioFile, bundled_files, size_of
from loadtests.common.clips import PAUSE, Clip, clips
from loadtests.common.paths import AUDIO
from loadtests.common.wav import RATE, pcm_of_wav, seconds_of, wav_of

CORPUS_VARIABLE = "SPEECH_CORPUS"
MANIFEST = "manifest.tsv"
HUMAN = AUDIO / "human"
CLIP_S = (3.0, 15.0)
CLIPS = 12
LONGFORM = 3
FLAC_BLOCK = 4096
LIMITS = AudioLimits(max_seconds=3600.0, max_channels=2, max_cpu_s=120.0)


@dataclass(frozen=True)
class Speech:
    """What the clients of one run send.

    Attributes:
        clips: an even number of clips of 3 to 15 s.
        files: good files of all sizes, the longest last.
    """

    clips: tuple[Clip, ...]
    files: tuple[AudioFile, ...]

    @property
    def mean_clip_s(self) -> float:
        """Mean seconds of audio in a clip."""
        return sum(clip.seconds for clip in self.clips) / len(self.clips)


def synthetic() -> Speech:
    """Return the bundled recordings, which speech synthesisers made."""
    return Speech(tuple(clips()), tuple(bundled_files()))


def human(corpus: Path) -> Speech:
    """Return the English read speech of a corpus as clips, and its longform recordings as files of minutes.

    Raises:
        FileNotFoundError: ``corpus`` has no manifest.
        ValueError: it has not enough English read speech.
    """
    with (corpus / MANIFEST).open(encoding="utf-8", newline="") as manifest:
        rows = [row for row in csv.DictReader(manifest, delimiter="\t", quoting=csv.QUOTE_NONE) if row["lang"] == "en"]
    read = [row for row in rows if row["category"] == "read_speech" and CLIP_S[0] <= _length(row)[0] <= CLIP_S[1]]
    if len(read) < CLIPS:
        raise ValueError(f"{corpus} has {len(read)} English clips of 3 to 15 s: a load test needs at least {CLIPS}.")
    by_length = sorted(read, key=_length)
    chosen = [by_length[place] for place in np.linspace(0, len(by_length) - 1, CLIPS).round().astype(int)]
    spoken = tuple(_clip(corpus / row["file"], row["reference"]) for row in chosen)
    longform = sorted((row for row in rows if row["category"] == "longform"), key=_length)[-LONGFORM:]
    minutes = [AudioFile(Path(row["file"]).stem, MINUTES, wav_of(read_pcm(corpus / row["file"]))) for row in longform]
    return Speech(spoken, (*map(_as_file, spoken), *(minutes or [_joined(spoken)])))


def speech_for(*, synthetic_only: bool, corpus: Path | None) -> Speech:
    """Return what to send to a model.

    Args:
        synthetic_only: whether the model understands nothing else.
        corpus: human speech to send; None where there is none.
    """
    if corpus is not None:
        return human(corpus)
    bundled = synthetic()
    if synthetic_only:
        return bundled
    people = tuple(_clip(path, "") for path in sorted(HUMAN.glob("*.*")) if path.suffix in {".flac", ".wav"})
    paired = people if len(people) % 2 == 0 else (*people, *people[:1])
    return Speech((*bundled.clips, *paired), (*map(_as_file, people), *bundled.files))


def hour_of(speech: Speech, seconds: float) -> bytes:
    """Return a FLAC file of ``seconds``, the clips joined again and again: WAV of an hour is too large to upload."""
    once = np.frombuffer(b"".join(pcm_of_wav(clip.wav) + PAUSE for clip in speech.clips), np.int16)
    return flac_of(np.resize(once, round(seconds * RATE)))


def flac_of(pcm: NDArray[np.int16]) -> bytes:
    """Return the content of a FLAC file with these samples."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono")
        for start in range(0, len(pcm), FLAC_BLOCK):
            frame = av.AudioFrame.from_ndarray(pcm[None, start : start + FLAC_BLOCK], format="s16", layout="mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def read_pcm(path: Path) -> bytes:
    """Return the samples in an audio file of any kind: 16 kHz, mono, 16 bits."""
    with path.open("rb") as file:
        return decode(file, LIMITS).mono.tobytes()


def _length(row: dict[str, str]) -> tuple[float, str]:
    """Return the seconds, and the name so that the order is the same everywhere."""
    return float(row["seconds"] or 0), row["file"]


def _clip(path: Path, spoken: str) -> Clip:
    pcm = read_pcm(path)
    return Clip(path.stem, wav_of(pcm), seconds_of(pcm), spoken)


def _as_file(clip: Clip) -> AudioFile:
    return AudioFile(clip.name, size_of(clip.seconds), clip.wav)


def _joined(spoken: Sequence[Clip]) -> AudioFile:
    return AudioFile("minutes", MINUTES, wav_of(PAUSE.join(pcm_of_wav(clip.wav) for clip in (*spoken, *spoken))))
