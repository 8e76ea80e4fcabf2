"""Recordings of minutes, and an hour joined from shorter ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.benchmarks.accuracy.corpus import CorpusFile, read_corpus
from loadtests.benchmarks.parts.clip_sets import choose
from loadtests.common.clips import PAUSE
from loadtests.common.speech import flac_of, read_pcm
from loadtests.common.wav import seconds_of

MINUTES, HOUR = "minutes", "an hour"
LONGFORM = ("longform/*",)
LEAST_S = 60.0
MOSTLY_SILENT = frozenset({"silence_heavy"})
"""Categories left out: where silence is skipped, their speed says nothing of speech."""
ENGLISH = "en"


@dataclass(frozen=True)
class LongFiles:
    """What the benchmark of long files sends: path of a file -> the recording in it."""

    minutes: Mapping[str, CorpusFile]
    hour: Mapping[str, CorpusFile]

    def groups(self) -> Iterator[tuple[str, Mapping[str, CorpusFile]]]:
        """Yield each length that there is, with its files."""
        yield from ((name, files) for name, files in ((MINUTES, self.minutes), (HOUR, self.hour)) if files)


def write_long_files(corpus: Path, directory: Path, seconds: float) -> LongFiles:
    """Find the recordings of minutes in a corpus, and write the hour into a directory.

    Args:
        seconds: length of the hour; it ends with a whole recording, so it may be shorter.

    Raises:
        ValueError: the corpus has too little English speech.
    """
    recordings = [one for one in read_corpus(corpus) if one.language == ENGLISH and one.category not in MOSTLY_SILENT]
    minutes = [recording for recording in choose(recordings, LONGFORM) if recording.seconds >= LEAST_S]
    path = directory / "hour.flac"
    hour, content = join(corpus, [*choose(recordings, ()), *minutes], seconds)
    path.write_bytes(content)
    return LongFiles({str(corpus / recording.file): recording for recording in minutes}, {str(path): hour})


def join(corpus: Path, recordings: Sequence[CorpusFile], seconds: float) -> tuple[CorpusFile, bytes]:
    """Join recordings again and again, with 0.3 s between them, to a FLAC file: WAV of an hour is too large to upload.

    Raises:
        ValueError: not even one recording fits.
    """
    pcm = {recording.file: read_pcm(corpus / recording.file) + PAUSE for recording in recordings}
    lengths = {file: seconds_of(samples) for file, samples in pcm.items()}
    taken = list(_fitting(recordings, lengths, seconds))
    if not taken:
        raise ValueError(f"{corpus} has no English recording whose words are known and that fits into {seconds:g} s.")
    samples = np.frombuffer(b"".join(pcm[recording.file] for recording in taken), np.int16)
    sentences = tuple(sentence for recording in taken for sentence in recording.sentences)
    joined = CorpusFile(HOUR, "joined", ENGLISH, HOUR, sum(lengths[one.file] for one in taken), sentences)
    return joined, flac_of(samples)


def _fitting(recordings: Iterable[CorpusFile], lengths: Mapping[str, float], seconds: float) -> Iterator[CorpusFile]:
    """Yield the recordings in order, again and again, until the next one does not fit."""
    used = 0.0
    for recording in itertools.cycle(recordings):
        used += lengths[recording.file]
        if used > seconds:
            return
        yield recording
