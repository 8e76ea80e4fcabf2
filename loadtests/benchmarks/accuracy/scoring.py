"""One text against what was spoken: errors, loops, and sentences of which nothing is there."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from deployments.decoder.loops import COMPRESSION_RATIO_THRESHOLD
from deployments.shared.languages import WITHOUT_SPACES

ENGLISH = "en"
MISSING_WORDS, MISSING_CHARACTERS = 6, 12
"""So many consecutive units of a reference that the text lacks are a hole; characters where no spaces are written."""
PIECE = 500
"""Characters that are compressed at once: about what is spoken in the 30 s by which Whisper judges a text. Sound text
of many minutes may well compress better than any loop of one window."""

ENGLISH_NORMALISER = EnglishTextNormalizer()
BASIC_NORMALISER = BasicTextNormalizer()


@dataclass(frozen=True)
class Score:
    """One text, compared.

    Attributes:
        units: words (English) or characters (other languages) of the reference.
        missing: what is spoken and of which nothing is in the text, a string per hole.
    """

    units: int
    substitutions: int
    deletions: int
    insertions: int
    missing: tuple[str, ...]

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


def normalise(text: str, language: str) -> str:
    """Return the text as Whisper's authors compare it; without spaces where the language writes none."""
    if language == ENGLISH:
        return str(ENGLISH_NORMALISER(text)).strip()
    return ("" if language in WITHOUT_SPACES else " ").join(str(BASIC_NORMALISER(text)).split())


def score(sentences: Sequence[str], text: str, language: str) -> Score | None:
    """Compare a text with what is spoken; None where the normaliser leaves nothing of that to compare with."""
    spoken, heard = normalise(" ".join(sentences), language), normalise(text, language)
    if not spoken:
        return None
    compare = jiwer.process_words if language == ENGLISH else jiwer.process_characters
    found = compare(spoken, heard)
    return Score(
        units=found.hits + found.substitutions + found.deletions,
        substitutions=found.substitutions,
        deletions=found.deletions,
        insertions=found.insertions,
        missing=find_missing(sentences, text, language),
    )


def find_missing(sentences: Sequence[str], text: str, language: str) -> tuple[str, ...]:
    """Return each stretch of the reference that the text has nothing of: whole sentences, or a long run of units.

    A single unit that is found inside such a stretch belongs to another place of the text and does not end it.
    Words that were heard as others are errors, not holes: a hole is where the text is shorter by that much.
    """
    spoken = [_units(sentence, language) for sentence in sentences]
    units = [unit for sentence in spoken for unit in sentence]
    if not units:
        return ()
    chunks = jiwer.process_words(" ".join(units), " ".join(_units(text, language))).alignments[0]
    least = MISSING_CHARACTERS if language in WITHOUT_SPACES else MISSING_WORDS
    holes = [(start, end) for start, end, lost in _stretches(chunks) if lost >= least]
    deleted = {
        unit for chunk in chunks if chunk.type == "delete" for unit in range(chunk.ref_start_idx, chunk.ref_end_idx)
    }
    bounds = list(accumulate(map(len, spoken), initial=0))
    for start, end in pairwise(bounds):
        known = any(start < hole_end and hole_start < end for hole_start, hole_end in holes)
        if start < end and not known and deleted.issuperset(range(start, end)):
            holes.append((start, end))
    space = "" if language in WITHOUT_SPACES else " "
    return tuple(space.join(units[start:end]) for start, end in sorted(holes))


def _units(text: str, language: str) -> list[str]:
    normalised = normalise(text, language)
    return list(normalised) if language in WITHOUT_SPACES else normalised.split()


def _stretches(chunks: Sequence[Any]) -> Iterator[tuple[int, int, int]]:
    """Yield start, end and loss (units fewer in the text) of every stretch of the reference that was not heard."""
    start = end = lost = 0
    for chunk in chunks:
        length = chunk.ref_end_idx - chunk.ref_start_idx
        if chunk.type == "equal":
            if length > 1:
                yield start, end, lost
                start, lost = chunk.ref_end_idx, 0
            elif start == chunk.ref_start_idx:
                start, lost = chunk.ref_end_idx, 0
            continue
        lost += length - (chunk.hyp_end_idx - chunk.hyp_start_idx)
        end = chunk.ref_end_idx
    yield start, end, lost


def compression_ratio(text: str) -> float:
    """Return the highest ratio of UTF-8 bytes to compressed bytes of any piece of the text; 0.0 for no text."""
    pieces = [text[start : start + PIECE].encode() for start in range(0, len(text), PIECE // 2)]
    return max((len(piece) / len(zlib.compress(piece)) for piece in pieces), default=0.0)


def is_loop(text: str, reference: str) -> bool:
    """Tell whether the text repeats itself as no speech does; not where the reference does so too."""
    return compression_ratio(text) > COMPRESSION_RATIO_THRESHOLD >= compression_ratio(reference)
