"""Transcripts to segments of subtitle size, for srt, vtt and verbose_json.

A segment ends where a sentence ends. A sentence too long for a subtitle is halved at the clause end or pause nearest
its middle, until its parts fit.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from deployments.ingress.transcript.speakers import Speakers, SpokenBy
from deployments.shared.contracts import Transcript, Window, Word
from deployments.shared.punctuation import ends_clause, ends_sentence

MAX_WIDTH: Final = 84
"""Columns: two subtitle lines of 42; an ideograph takes two."""

MAX_DURATION_S: Final = 7.0
PAUSE_S: Final = 0.3
TITLES: Final = frozenset({"dr.", "mr.", "mrs.", "ms.", "prof.", "st."})


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the transcript; times in seconds from the start of the audio.

    Attributes:
        id: counts up over the whole audio.
        text: without surrounding white space.
        tokens: of the text; empty where a window was split, since words do not tell their tokens.
        avg_logprob: this and the following, of the segment's window.
        words: of this segment; empty unless word times were asked for.
        speaker: who speaks: the number of the channel, where each is a recording of its own, or what speakers are told
            apart by; None where nobody knows.
        also_speaking: who else speaks at the same time.
    """

    id: int
    start_s: float
    end_s: float
    text: str
    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    words: tuple[Word, ...]
    speaker: str | None = None
    also_speaking: tuple[str, ...] = ()


def split_segments(
    windows: Sequence[tuple[Window, Transcript]], *, first_id: int = 0, speakers: Speakers | None = None
) -> list[Segment]:
    """Segments of the windows in order, numbered from ``first_id``.

    The texts of a window's segments, joined as its language joins words, are the window's text. A window without word
    times is one segment; one without text is none. Where it is known who speaks, each segment is by one speaker.
    """
    segments: list[Segment] = []
    for window, transcript in windows:
        for text, words, by in _split(transcript, speakers):
            whole = text == transcript.text
            start_s = words[0].start_s if words else window.start_s
            end_s = words[-1].end_s if words else window.end_s
            spoken = _spoken(window, by, speakers)
            segments.append(
                Segment(
                    id=first_id + len(segments),
                    start_s=start_s,
                    end_s=end_s,
                    text=text,
                    tokens=transcript.tokens if whole else (),
                    avg_logprob=transcript.avg_logprob,
                    no_speech_prob=transcript.no_speech_prob,
                    compression_ratio=transcript.compression_ratio,
                    temperature=transcript.temperature,
                    words=words,
                    speaker=spoken.speaker if spoken else None,
                    also_speaking=spoken.also if spoken else (),
                )
            )
    channels = {window.channel for window, _ in windows}
    return _in_time(segments, first_id) if len(channels) > 1 else segments


def _spoken(window: Window, by: Sequence[SpokenBy], speakers: Speakers | None) -> SpokenBy | None:
    """Return who says one segment.

    Args:
        by: who says each of its words, as far as it is known; all of them by themselves have the same speaker.
    """
    if window.channel is not None:
        return SpokenBy(str(window.channel))
    if speakers is None:
        return None
    if not by:
        return speakers.of(window.start_s, window.end_s)
    also = dict.fromkeys(name for spoken in by for name in spoken.also)
    return SpokenBy(by[0].speaker, tuple(name for name in also if name != by[0].speaker))


def _in_time(segments: Sequence[Segment], first_id: int) -> list[Segment]:
    """Put what several speakers say in order: their windows overlap."""
    ordered = sorted(segments, key=lambda segment: segment.start_s)
    return [replace(segment, id=id_) for id_, segment in enumerate(ordered, start=first_id)]


def _split(transcript: Transcript, speakers: Speakers | None) -> list[tuple[str, tuple[Word, ...], Sequence[SpokenBy]]]:
    """Return the pieces of a text: each with its words, and with who says each of these as far as it is known."""
    if not transcript.text:
        return []
    if not transcript.words:
        return [(transcript.text, (), ())]
    words = _PlacedWords(transcript)
    by = [] if speakers is None else [each for each in speakers.of_words(transcript.words) if each is not None]
    said = [part for sentence in _sentences(transcript.words) for part in _by_speaker(by, sentence)]
    parts = [part for each in said for part in words.subtitles(*each)]
    return [(words.text(start, end), transcript.words[start:end], by[start:end]) for start, end in parts]


def _sentences(words: tuple[Word, ...]) -> list[tuple[int, int]]:
    """Ranges of words, one a sentence."""
    ends = [i for i, (word, following) in enumerate(pairwise(words), 1) if _is_sentence_end(word.text, following.text)]
    return list(pairwise([0, *ends, len(words)]))


def _by_speaker(by: Sequence[SpokenBy], sentence: tuple[int, int]) -> list[tuple[int, int]]:
    """Cut a range of words where the speaker changes; nobody is known, or of every word who says it."""
    first, last = sentence
    names = [each.speaker for each in by[first:last]]
    changes = [first + i for i, (name, following) in enumerate(pairwise(names), 1) if name != following]
    return list(pairwise([first, *changes, last]))


def _is_sentence_end(word: str, following: str) -> bool:
    return ends_sentence(word) and not following[0].islower() and word.lower() not in TITLES


class _PlacedWords:
    """The words of one window and where each begins in its text."""

    def __init__(self, transcript: Transcript) -> None:
        self._text = transcript.text
        self._words = transcript.words
        self._offsets = [0]
        for word, following in pairwise(transcript.words):
            after = self._offsets[-1] + len(word.text)
            # Broken UTF-8 may read differently in a word and in the text: it begins where the last one ended then.
            self._offsets.append(max(after, self._text.find(following.text, after)))
        self._offsets.append(len(self._text))

    def text(self, start: int, end: int) -> str:
        """Return the text of the words ``start`` to ``end``, exclusive."""
        return self._text[self._offsets[start] : self._offsets[end]].strip()

    def subtitles(self, start: int, end: int) -> list[tuple[int, int]]:
        """Ranges of words that fit a subtitle each, or are a single word."""
        if end - start == 1 or self._fits(start, end):
            return [(start, end)]
        middle = self._break(start, end)
        return [*self.subtitles(start, middle), *self.subtitles(middle, end)]

    def _fits(self, start: int, end: int) -> bool:
        duration_s = self._words[end - 1].end_s - self._words[start].start_s
        return duration_s <= MAX_DURATION_S and _width(self.text(start, end)) <= MAX_WIDTH

    def _break(self, start: int, end: int) -> int:
        """Return the word to begin the second half with: after a clause or pause if the middle half has one."""
        first, last = self._offsets[start], self._offsets[end]
        middle, quarter = (first + last) / 2, (last - first) / 4
        everywhere = range(start + 1, end)
        central = [i for i in everywhere if abs(self._offsets[i] - middle) <= quarter]
        natural = [i for i in central if self._is_natural_break(i)]
        return min(natural or everywhere, key=lambda i: abs(self._offsets[i] - middle))

    def _is_natural_break(self, index: int) -> bool:
        before, after = self._words[index - 1], self._words[index]
        return ends_clause(before.text) or after.start_s - before.end_s >= PAUSE_S


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
