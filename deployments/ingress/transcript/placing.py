"""Word times that every player accepts: inside their window, in order, none of zero length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from deployments.shared.contracts import Word

SHORTEST_MS: Final = 20
"""No word is shorter: one step of the alignment."""


def place_words(words: Sequence[Word], start_s: float, end_s: float) -> tuple[Word, ...]:
    """Return the words with their times moved as little as it takes to be well formed.

    Args:
        words: in order; times in seconds from the start of the audio.
        start_s: no word begins earlier ...
        end_s: ... and none ends later.

    Returns:
        Times in whole milliseconds, without overlap, each word ``SHORTEST_MS`` long at least, or as long as there is
        room for. Only where there are more words than milliseconds some have no length.
    """
    if not words:
        return ()
    low, high = math.ceil(1000 * start_s - 1e-6), math.floor(1000 * end_s + 1e-6)
    shortest = max(0, min(SHORTEST_MS, (high - low) // len(words)))
    spans = _not_too_late(_not_too_early(words, low, shortest), high, shortest)
    return tuple(
        replace(word, start_s=start / 1000, end_s=end / 1000) for word, (start, end) in zip(words, spans, strict=True)
    )


def _not_too_early(words: Sequence[Word], low: int, shortest: int) -> list[tuple[int, int]]:
    """Spans in milliseconds: each begins after the one before it, and ends before the next word if it can."""
    following = [*(round(1000 * word.start_s) for word in words[1:]), math.inf]
    spans: list[tuple[int, int]] = []
    for word, next_start in zip(words, following, strict=True):
        start = max(round(1000 * word.start_s), low)
        low = max(int(min(round(1000 * word.end_s), next_start)), start + shortest)
        spans.append((start, low))
    return spans


def _not_too_late(spans: Sequence[tuple[int, int]], high: int, shortest: int) -> list[tuple[int, int]]:
    placed: list[tuple[int, int]] = []
    for start, end in reversed(spans):
        last = min(end, high)
        high = min(start, last - shortest)
        placed.append((high, last))
    return placed[::-1]
