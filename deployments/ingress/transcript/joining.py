"""Texts and transcripts of consecutive pieces of audio as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Final

from deployments.shared.contracts import Transcript, Window

MIN_REST_S: Final = 0.1
"""What is left of a window after its text is not worth decoding if it is no longer than this."""

WITHOUT_SPACES: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # iteration marks
    (0x3040, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x20000, 0x3FFFF),  # Han
)
"""Scripts that put no spaces between words: first and last code point of each block."""


def join_texts(texts: Iterable[str]) -> str:
    """Return the texts as one; those that are empty leave no trace."""
    pieces = [text for text in texts if text]
    return "".join([*pieces[:1], *(separator(before, after) + after for before, after in pairwise(pieces))])


def join_turns(said: Iterable[tuple[str | None, str]]) -> str:
    """Return what several speakers say as people read it: a line for each turn, with the speaker's name before it.

    Args:
        said: who says something, None where nobody knows, and what.
    """
    turns = groupby(said, key=lambda each: each[0])
    texts = ((speaker, join_texts(text for _, text in each)) for speaker, each in turns)
    return "\n".join(f"{speaker}: {text}" if speaker else text for speaker, text in texts)


def separator(before: str, after: str) -> str:
    """Return what stands between two texts: nothing if both are in scripts without spaces, else a space.

    The script decides, not the language: a translation from Japanese is English.
    """
    return "" if _is_unspaced(before) and _is_unspaced(after) else " "


def _is_unspaced(text: str) -> bool:
    letters = [ord(character) for character in text if character.isalpha()]
    return 2 * sum(needs_no_spaces(letter) for letter in letters) > len(letters)


def needs_no_spaces(letter: int) -> bool:
    """Return whether a letter, by its code point, is of a script that puts no spaces between words."""
    return any(first <= letter <= last for first, last in WITHOUT_SPACES)


def rest_of(window: Window, transcript: Transcript) -> Window | None:
    """Return what the transcript of a window left out, as a window of its own; None where that is not worth decoding.

    It is where nothing is left, where nobody speaks in it, or where the transcript began with it: a second attempt
    would end the same.
    """
    start_s = transcript.rest_from_s
    if start_s is None or start_s - window.start_s < MIN_REST_S or window.end_s - start_s < MIN_REST_S:
        return None
    if window.speech is None:
        return replace(window, start_s=start_s)
    speech = tuple((max(start, start_s), end) for start, end in window.speech if end > start_s)
    return replace(window, start_s=start_s, speech=speech) if speech else None


def join_transcripts(parts: Sequence[Transcript]) -> Transcript:
    """Return the transcripts of a window and of its rests, in order, as one.

    Probabilities of language and silence are those of the first part, which saw most of the window; the compression
    ratio and the temperature are the worst ones: the ratio of the joined text would be higher for its length alone.
    """
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        text=join_texts(part.text for part in parts),
        tokens=tuple(token for part in parts for token in part.tokens),
        avg_logprob=_mean_logprob(parts),
        compression_ratio=max(part.compression_ratio for part in parts),
        temperature=max(part.temperature for part in parts),
        words=tuple(word for part in parts for word in part.words),
        logprobs=tuple(token for part in parts for token in part.logprobs),
        rest_from_s=parts[-1].rest_from_s,
    )


def _mean_logprob(parts: Sequence[Transcript]) -> float:
    """Return the mean log probability per token over all parts; each counts one token for its end."""
    weights = [len(part.tokens) + 1 for part in parts]
    return sum(weight * part.avg_logprob for weight, part in zip(weights, parts, strict=True)) / sum(weights)
