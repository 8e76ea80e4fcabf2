"""How long after a word was said its text came: what a live session told, laid over the words of the recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from loadtests.benchmarks.parts.words import words


@dataclass(frozen=True, slots=True)
class Said:
    """A word of the recording.

    Attributes:
        end_s: when it ends, in seconds from the start of the stream.
    """

    word: str
    end_s: float


@dataclass(frozen=True, slots=True)
class Told:
    """A word that a live session told.

    Attributes:
        at_s: when its text came, in seconds from the start of the stream.
    """

    word: str
    at_s: float


def told_words(deltas: Iterable[tuple[str, float]]) -> list[Told]:
    """Return the words of texts, each with the time when its text came; a text ends with a whole word."""
    return [Told(word, at_s) for text, at_s in deltas for word in words(text).split()]


def said_words(timed: Iterable[tuple[str, float]], start_s: float) -> Iterator[Said]:
    """Yield the words of a recording that begins at ``start_s`` of the stream.

    Args:
        timed: each word, with its end in seconds from the start of the recording.
        start_s: seconds from the start of the stream.
    """
    for text, end_s in timed:
        for word in words(text).split():
            yield Said(word, start_s + end_s)


def delays(said: Sequence[Said], told: Sequence[Told]) -> list[float]:
    """Return the seconds from the end of each word until its text came, for the words that are in both, in order."""
    matcher = SequenceMatcher(None, [each.word for each in said], [each.word for each in told], autojunk=False)
    return [
        told[block.b + offset].at_s - said[block.a + offset].end_s
        for block in matcher.get_matching_blocks()
        for offset in range(block.size)
    ]
