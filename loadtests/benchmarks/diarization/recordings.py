"""The recordings that are listened to: those of a corpus whose turns are known, and constructed dialogues."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loadtests.benchmarks.diarization.dialogues import Dialogue, make_dialogues, make_meeting, read_sentences
from loadtests.benchmarks.diarization.timeline import RTTM, STM, Said, Spoken, read_rttm, read_stm, speakers_of
from loadtests.common.speech import read_pcm
from loadtests.common.wav import seconds_of, wav_of

TEXTS = frozenset({RTTM, STM, ".tsv", ".txt", ".json"})
CONSTRUCTED = "constructed"


@dataclass(frozen=True)
class Recording:
    """One recording.

    Attributes:
        group: the folder that it is in; the constructed ones are in groups by their number of voices.
        said: what is said, in order; none where that is not known.
    """

    name: str
    group: str
    seconds: float
    turns: tuple[Spoken, ...]
    said: tuple[Said, ...]

    @property
    def speakers(self) -> int:
        return len(speakers_of(self.turns))


def write_recordings(
    directory: Path, constructed: int, workplace: Path, *, meeting: bool = False
) -> dict[str, Recording]:
    """Write all recordings into a directory as WAV files of 16 kHz, which every contender can read.

    Args:
        directory: the corpus.
        constructed: so many constructed dialogues too.
        workplace: where they are written.
        meeting: whether there is a constructed hour of six voices too.

    Returns:
        path -> recording.

    Raises:
        ValueError: there are none, or dialogues cannot be constructed; says what to do.
    """
    files = {}
    for number, (recording, pcm) in enumerate(_recordings(directory, constructed, meeting=meeting)):
        path = workplace / f"{number:04}.wav"
        path.write_bytes(wav_of(pcm))
        files[str(path)] = recording
    if not files:
        raise ValueError(f"{directory} has no recording with an {RTTM} file beside it. Name another, or --constructed.")
    return files


def _recordings(directory: Path, constructed: int, *, meeting: bool) -> Iterator[tuple[Recording, bytes]]:
    for rttm in sorted(directory.rglob(f"*{RTTM}")):
        yield _with_rttm(directory, rttm)
    sentences = read_sentences(directory) if constructed or meeting else []
    for dialogue in make_dialogues(sentences, constructed):
        yield _of_dialogue(dialogue)
    if meeting:
        yield _of_dialogue(make_meeting(sentences))


def _with_rttm(directory: Path, rttm: Path) -> tuple[Recording, bytes]:
    audio = next((path for path in sorted(rttm.parent.glob(f"{rttm.stem}.*")) if path.suffix not in TEXTS), None)
    if audio is None:
        raise ValueError(f"{rttm} has no recording beside it. Put one there, or take the file away.")
    pcm, stm = read_pcm(audio), rttm.with_suffix(STM)
    said = tuple(read_stm(stm)) if stm.is_file() else ()
    group = str(rttm.parent.relative_to(directory))
    return Recording(rttm.stem, group, seconds_of(pcm), tuple(read_rttm(rttm)), said), pcm


def _of_dialogue(dialogue: Dialogue) -> tuple[Recording, bytes]:
    pcm, voices = dialogue.pcm.tobytes(), len(speakers_of(dialogue.turns))
    group = f"{CONSTRUCTED}, {voices} voices"
    return Recording(dialogue.name, group, seconds_of(pcm), dialogue.turns, dialogue.said), pcm
