"""Who says each word: the speaker whose turn it lies in."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence, Set
from itertools import accumulate, count
from string import ascii_uppercase
from typing import Final, NamedTuple

from deployments.shared.contracts import Diarized, Speaker, Turn, Word

AT_ONCE: Final = 0.8
"""Part of the longest overlap with a word from which another speaker speaks at the same time, not before or behind."""


class SpokenBy(NamedTuple):
    """Who says something, and who else speaks meanwhile."""

    speaker: str
    also: tuple[str, ...] = ()


class Speakers:
    """The speakers of a recording and their turns.

    Attributes:
        labels: names of the speakers, in the order in which they begin to speak: those that are known, and capital
            letters for strangers.
        names: the labels of those that are known.
    """

    def __init__(self, diarized: Diarized) -> None:
        self.labels = labels_of(diarized.speakers)
        self.names = frozenset(speaker.name for speaker in diarized.speakers if speaker.name)
        self._loudness = [speaker.level_db for speaker in diarized.speakers]
        self._turns = diarized.turns
        self._starts = [turn.start_s for turn in diarized.turns]
        self._ends = list(accumulate((turn.end_s for turn in diarized.turns), max))
        self._embeddings = [speaker.embedding for speaker in diarized.speakers]

    @property
    def embeddings(self) -> dict[str, list[float]]:
        """What each voice sounds like, by its label."""
        return {label: list(values) for label, values in zip(self.labels, self._embeddings, strict=True)}

    def of(self, start_s: float, end_s: float) -> SpokenBy | None:
        """Return who speaks in a stretch of the recording; the nearest turn counts where nobody does.

        Where two speak at the same time, the louder one is understood. None where there is no turn at all.
        """
        shares: dict[int, float] = {}
        for turn in self._around(start_s, end_s):
            shared_s = min(turn.end_s, end_s) - max(turn.start_s, start_s)
            shares[turn.speaker] = shares.get(turn.speaker, 0.0) + shared_s
        if not shares:
            return self._nearest(start_s, end_s)
        most = max(shares.values())
        heard = [speaker for speaker, share in shares.items() if share >= AT_ONCE * most]
        speaker = max(heard, key=lambda each: (self._loudness[each], -each))
        return SpokenBy(self.labels[speaker], tuple(self.labels[each] for each in sorted(heard) if each != speaker))

    def of_words(self, words: Sequence[Word]) -> list[SpokenBy | None]:
        """Return who says each word."""
        return [self.of(word.start_s, word.end_s) for word in words]

    def _around(self, start_s: float, end_s: float) -> Iterator[Turn]:
        """Yield the turns that share some time with a stretch."""
        for index in range(bisect_left(self._starts, end_s) - 1, -1, -1):
            if self._ends[index] <= start_s:
                return
            if self._turns[index].end_s > start_s:
                yield self._turns[index]

    def _nearest(self, start_s: float, end_s: float) -> SpokenBy | None:
        if not self._turns:
            return None
        turn = min(self._turns, key=lambda each: max(each.start_s - end_s, start_s - each.end_s))
        return SpokenBy(self.labels[turn.speaker])


def labels_of(speakers: Sequence[Speaker]) -> tuple[str, ...]:
    """Return the name of each speaker, or a capital letter for a stranger."""
    strangers = letters({speaker.name for speaker in speakers if speaker.name})
    return tuple(speaker.name or next(strangers) for speaker in speakers)


def letters(taken: Set[str]) -> Iterator[str]:
    """Yield capital letters for strangers, without those that are taken; AA follows Z."""
    return (letter for letter in map(_letter, count()) if letter not in taken)


def _letter(number: int) -> str:
    more, last = divmod(number, len(ascii_uppercase))
    return (_letter(more - 1) if more else "") + ascii_uppercase[last]
