"""What the throughput benchmark sends: people of a corpus, or the tree's synthesisers for the toy model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.benchmarks.accuracy.corpus import Choice, CorpusFile, find_corpus, is_heard, read_corpus
from loadtests.common.clips import Clip, clips
from loadtests.common.speech import read_pcm
from loadtests.common.wav import seconds_of, wav_of

READ_SPEECH = ("librispeech/*",)
"""The recordings of a corpus that are taken where none are named; all, where it has none of these."""


@dataclass(frozen=True)
class ClipSet:
    """Some clips.

    Attributes:
        recordings: clip name -> who speaks in it, and what.
    """

    clips: tuple[Clip, ...]
    recordings: Mapping[str, CorpusFile]

    @property
    def mean_s(self) -> float:
        """Mean seconds of audio in a clip."""
        return sum(clip.seconds for clip in self.clips) / len(self.clips)

    @property
    def speakers(self) -> int:
        """How many people speak."""
        return len({recording.speaker for recording in self.recordings.values()})

    @property
    def description(self) -> str:
        """How many clips, how long they are, and how many people speak in them, in words."""
        lengths = [clip.seconds for clip in self.clips]
        return (
            f"{len(lengths)} clips of {min(lengths):.1f}-{max(lengths):.1f} s (mean {self.mean_s:.1f} s) by "
            f"{self.speakers} speakers"
        )


def read_clips(directory: Path, files: Sequence[str] = ()) -> ClipSet:
    """Read the recordings of a corpus whose words are known.

    Args:
        files: glob patterns; none takes ``READ_SPEECH``.

    Raises:
        ValueError: the directory is no corpus, or has no such recording.
    """
    chosen = choose(read_corpus(directory), files)
    if not chosen:
        raise ValueError(f"{directory} has no recording that matches {', '.join(files)} and whose words are known.")
    return ClipSet(
        tuple(_clip(directory, recording) for recording in chosen), {recording.file: recording for recording in chosen}
    )


def read_clips_or_exit(named: Path | None, files: Sequence[str]) -> ClipSet:
    """Do as ``read_clips`` does, in the corpus that a benchmark's user named or the one that is found without.

    Raises:
        SystemExit: the directory is no corpus, or has no such recording.
    """
    try:
        return read_clips(find_corpus(named), files)
    except ValueError as error:
        raise SystemExit(str(error)) from error


def choose(recordings: Sequence[CorpusFile], files: Sequence[str]) -> list[CorpusFile]:
    """Return the recordings to send, in order."""
    scored = [recording for recording in recordings if is_heard(recording) and not recording.unscored]
    return Choice(files=files or READ_SPEECH).of(scored) or ([] if files else scored)


def synthetic_clips() -> ClipSet:
    """Return the bundled clips, which the toy model understands; each counts as a speaker of its own."""
    bundled = tuple(clips())
    return ClipSet(bundled, {clip.name: _recording(clip) for clip in bundled})


def _clip(directory: Path, recording: CorpusFile) -> Clip:
    pcm = read_pcm(directory / recording.file)
    return Clip(recording.file, wav_of(pcm), seconds_of(pcm), recording.reference)


def _recording(clip: Clip) -> CorpusFile:
    return CorpusFile(clip.name, "synthesised", "en", clip.name, clip.seconds, (clip.spoken,))
