"""Words and their speakers: how many words are heard right and given to somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import jiwer
import numpy as np
from scipy.optimize import linear_sum_assignment

from loadtests.benchmarks.accuracy.scoring import ENGLISH, normalise
from loadtests.benchmarks.diarization.timeline import Said


@dataclass(frozen=True)
class WordErrors:
    """What is wrong with the words of one recording.

    Attributes:
        words: of the reference.
        heard: of them, those that are in the transcript.
        misattributed: of these, those whose speaker is wrong under the names that fit best.
        errors: substitutions, deletions and insertions, whoever speaks.
        errors_by_speaker: the same where the words of each speaker are compared with those of the one that is found for
            it, under the names that give the fewest.
    """

    words: int
    heard: int
    misattributed: int
    errors: int
    errors_by_speaker: int


@dataclass(frozen=True)
class _Word:
    text: str
    speaker: str


def word_errors(said: Sequence[Said], heard: Sequence[Said]) -> WordErrors:
    """Compare the words of a transcript, and who is said to say them, with those of a reference, both in order.

    Texts are English, and compared after Whisper's normaliser.
    """
    spoken, found = _words(said), _words(heard)
    pairs, errors = _align(spoken, found)
    return WordErrors(
        words=len(spoken),
        heard=len(pairs),
        misattributed=len(pairs) - _most_alike(pairs),
        errors=errors,
        errors_by_speaker=_errors_by_speaker(spoken, found),
    )


def _words(said: Sequence[Said]) -> list[_Word]:
    """Return the normalised words; what one speaker says without a break is normalised together, as numbers need it."""
    runs = ((who, " ".join(each.text for each in run)) for who, run in groupby(said, lambda each: each.speaker))
    return [_Word(word, who) for who, text in runs for word in normalise(text, ENGLISH).split()]


def _align(spoken: Sequence[_Word], found: Sequence[_Word]) -> tuple[list[tuple[str, str]], int]:
    """Return the speakers of each word that is in both, and the errors of the fewest edits."""
    if not spoken or not found:
        return [], len(spoken) + len(found)
    chunks = jiwer.process_words(_text(spoken), _text(found)).alignments[0]
    equal = [chunk for chunk in chunks if chunk.type == "equal"]
    pairs = [
        (one.speaker, other.speaker)
        for chunk in equal
        for one, other in zip(
            spoken[chunk.ref_start_idx : chunk.ref_end_idx], found[chunk.hyp_start_idx : chunk.hyp_end_idx], strict=True
        )
    ]
    return pairs, _distance(_text(spoken), _text(found))


def _most_alike(pairs: Sequence[tuple[str, str]]) -> int:
    """Return how many pairs have the same speaker under the names that fit best."""
    if not pairs:
        return 0
    real, said = (sorted(set(names)) for names in zip(*pairs, strict=True))
    counts = np.zeros((len(real), len(said)), np.int64)
    for one, other in pairs:
        counts[real.index(one), said.index(other)] += 1
    return int(counts[linear_sum_assignment(-counts)].sum())


def _errors_by_speaker(spoken: Sequence[_Word], found: Sequence[_Word]) -> int:
    """Return the errors of the texts of each speaker; a speaker without a match has all its words wrong."""
    real, said = _texts(spoken), _texts(found)
    size = max(len(real), len(said))
    real += [""] * (size - len(real))
    said += [""] * (size - len(said))
    errors = np.array([[_distance(one, other) for other in said] for one in real], np.int64).reshape(size, size)
    return int(errors[linear_sum_assignment(errors)].sum())


def _texts(words: Sequence[_Word]) -> list[str]:
    speakers = dict.fromkeys(word.speaker for word in words)
    return [_text([word for word in words if word.speaker == speaker]) for speaker in speakers]


def _text(words: Sequence[_Word]) -> str:
    return " ".join(word.text for word in words)


def _distance(spoken: str, found: str) -> int:
    """Return the fewest words to replace, take away and put in."""
    if not spoken or not found:
        return len(spoken.split()) + len(found.split())
    compared = jiwer.process_words(spoken, found)
    return int(compared.substitutions + compared.deletions + compared.insertions)
