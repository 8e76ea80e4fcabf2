"""The recordings and what is spoken in them: a directory with a manifest, or the clips in the tree.

A corpus is a directory of one of three kinds:

- with ``manifest.tsv``: a row per recording, with the columns ``file``, ``category``, ``lang``, ``speakers``,
  ``seconds``, ``reference`` and ``trust``. A reference that names an ``.stm`` is read from the file beside the audio;
- with ``transcripts.tsv``: the columns ``file``, ``seconds`` and ``spoken``, all English;
- with folders named after languages that hold ``NAME.wav`` beside ``NAME.txt``, as the package pytest-audioeval has.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import av

from deployments.shared.languages import LANGUAGES
from loadtests.common.paths import AUDIO
from loadtests.common.speech import CORPUS_VARIABLE

MANIFEST, TRANSCRIPTS = "manifest.tsv", "transcripts.tsv"
IN_THE_TREE = AUDIO
UNHEARD = frozenset({"odd"})
"""Categories that are about files, not about words: most hold the same sentence in another container."""
WORDLESS = frozenset({"noise", "rir"})
"""Categories in which nobody speaks."""
PROMPTS_TO_BE_SILENT = frozenset({"tyst under denna inspelning"})
"""Texts of a corpus that tell the reader to say nothing: nobody speaks them, so no service may be asked for them."""
TRUSTED = frozenset({"high", "medium"})
MAX_COUNT = 9
"""``speakers`` up to this is how many speak, not who: the names in use that are numbers are all larger."""
STM_FIELDS = 6
SENTENCE_END = re.compile("(?<=[.?!])\\s+|(?<=[\u3002\uff1f\uff01])")


@dataclass(frozen=True)
class CorpusFile:
    """One file of a corpus.

    Attributes:
        file: its path in the directory of the corpus.
        collection: the first folder of that path.
        language: ISO code; empty where unknown or where there are several.
        speaker: what the bootstrap resamples: who speaks; the file's own name where that is not known.
        seconds: how long it lasts.
        sentences: what is spoken, in order; none where it is not known.
        unscored: why its text is not compared; empty where it is.
    """

    file: str
    category: str
    language: str
    speaker: str
    seconds: float
    sentences: tuple[str, ...]
    unscored: str = ""

    @property
    def collection(self) -> str:
        return self.file.split("/", 1)[0] if "/" in self.file else "."

    @property
    def is_wordless(self) -> bool:
        return self.category in WORDLESS

    @property
    def reference(self) -> str:
        return " ".join(self.sentences)


@dataclass(frozen=True)
class Choice:
    """Which recordings of a corpus to take: all, where nothing is named.

    Attributes:
        files: glob patterns.
        limit: at most so many of each category and language; 0 takes all.
    """

    categories: Sequence[str] = ()
    languages: Sequence[str] = ()
    files: Sequence[str] = ()
    limit: int = 0

    def of(self, recordings: Iterable[CorpusFile]) -> list[CorpusFile]:
        """Return the chosen recordings, in order."""
        taken: Counter[tuple[str, str]] = Counter()
        chosen = []
        for recording in filter(self._takes, recordings):
            taken[recording.category, recording.language] += 1
            if not self.limit or taken[recording.category, recording.language] <= self.limit:
                chosen.append(recording)
        return chosen

    def _takes(self, recording: CorpusFile) -> bool:
        return (
            (not self.categories or recording.category in self.categories)
            and (not self.languages or recording.language in self.languages)
            and (not self.files or any(fnmatch(recording.file, pattern) for pattern in self.files))
        )


def find_corpus(named: Path | None) -> Path:
    """Return the directory that is named, else the one that the environment names, else that of the tree."""
    if named:
        return named
    variable = os.environ.get(CORPUS_VARIABLE)
    if variable:
        return Path(variable)
    sys.stderr.write(f"Neither DIR nor {CORPUS_VARIABLE} names a corpus: the clips in {IN_THE_TREE} are taken.\n")
    return IN_THE_TREE


def read_corpus(directory: Path) -> list[CorpusFile]:
    """Return every recording of a corpus.

    Raises:
        ValueError: the directory is no corpus; says what it lacks.
    """
    if (directory / MANIFEST).is_file():
        return _rows(directory / MANIFEST, _of_manifest)
    if (directory / TRANSCRIPTS).is_file():
        return _rows(directory / TRANSCRIPTS, _of_transcripts)
    found = [_of_folder(directory, text) for text in sorted(directory.glob("*/*.txt")) if text.parent.name in LANGUAGES]
    if not found:
        raise ValueError(
            f"{directory} holds neither {MANIFEST} nor {TRANSCRIPTS} nor folders named after languages with texts. "
            "Name the directory of a corpus."
        )
    return found


def is_heard(recording: CorpusFile) -> bool:
    """Tell whether it is worth sending: files that are about containers and codecs are not."""
    return recording.category not in UNHEARD


def _rows(path: Path, read: Callable[[Path, Mapping[str, str]], CorpusFile]) -> list[CorpusFile]:
    with path.open(encoding="utf-8", newline="") as file:
        return [read(path.parent, row) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def _of_manifest(directory: Path, row: Mapping[str, str]) -> CorpusFile:
    language = row["lang"] if row["lang"] in LANGUAGES else ""
    sentences, speaker = _spoken(directory, row)
    return CorpusFile(
        file=row["file"],
        category=row["category"],
        language=language,
        speaker=speaker or row["file"],
        seconds=float(row["seconds"] or 0),
        sentences=sentences,
        unscored=_why_unscored(row, language, sentences),
    )


def _spoken(directory: Path, row: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """Return the sentences, and who speaks them where that is said."""
    if ".stm" in row["reference"]:
        lines = (directory / row["file"]).with_suffix(".stm").read_text(encoding="utf-8").splitlines()
        turns = [line.split(" ", STM_FIELDS) for line in lines if line and not line.startswith(";;")]
        return tuple(turn[STM_FIELDS] for turn in turns), "+".join(sorted({turn[2] for turn in turns}))
    speakers = row["speakers"]
    named = speakers if not speakers.isdigit() or int(speakers) > MAX_COUNT else ""
    if "RTTM" in row["reference"]:
        return (), named
    return _sentences(row["reference"]), named


def _sentences(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in SENTENCE_END.split(text))))


def _why_unscored(row: Mapping[str, str], language: str, sentences: tuple[str, ...]) -> str:
    """Return the first reason that holds, or none."""
    reasons = {
        "about containers and codecs: not sent here": row["category"] in UNHEARD,
        "no text is known": not sentences,
        "the reader was told to be silent": row["reference"].casefold() in PROMPTS_TO_BE_SILENT,
        "the text is not to be trusted": row["trust"] not in TRUSTED,
        "several languages, or none that Whisper knows": not language,
        "two voices at once, one on each channel": row["reference"].startswith("LEFT:"),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _of_transcripts(directory: Path, row: Mapping[str, str]) -> CorpusFile:
    category = "synthesised" if directory == IN_THE_TREE else directory.name
    return CorpusFile(
        row["file"], category, "en", Path(row["file"]).stem, float(row["seconds"]), _sentences(row["spoken"])
    )


def _of_folder(directory: Path, text: Path) -> CorpusFile:
    audio = text.with_suffix(".wav")
    with av.open(str(audio)) as container:
        seconds = (container.duration or 0) / av.time_base
    file = str(audio.relative_to(directory))
    return CorpusFile(
        file, "sentence", text.parent.name, file, seconds, _sentences(text.read_text(encoding="utf-8").strip())
    )
