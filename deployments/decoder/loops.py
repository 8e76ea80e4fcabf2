"""Text that says the same over and over: where it loops, and what is left when each loop is said once."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

COMPRESSION_RATIO_THRESHOLD: Final = 2.4
"""Ratio above which a text repeats itself, by Whisper's rule. Repeated words of less than 40 letters are below."""

LEAST_PASSES: Final = 3
LEAST_SUPERFLUOUS: Final = 6
"""Tokens beyond the first pass that make a loop. Fewer are "very, very" or the digits of a number."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A run of tokens that consists of equal passes, the last one perhaps only begun.

    Attributes:
        start: index of the first token.
        period: tokens of one pass.
        length: tokens of the whole run, at least ``LEAST_PASSES`` passes.
    """

    start: int
    period: int
    length: int

    @property
    def superfluous(self) -> int:
        """Tokens beyond the first pass."""
        return self.length - self.period


def compression_ratio(text: str) -> float:
    """Return the UTF-8 length of the text over its zlib length; 0.0 for no text."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def is_repetitive(text: str) -> bool:
    """Return whether the text compresses too well, if each letter of any script counts as one byte.

    In UTF-8 the letters of Tamil or Hindi take three bytes, two of which repeat themselves whatever is said.
    """
    codes = {letter: index % 256 for index, letter in enumerate(dict.fromkeys(text))}
    data = bytes(codes[letter] for letter in text)
    return len(data) > COMPRESSION_RATIO_THRESHOLD * len(zlib.compress(data))


def until_first_pass(tokens: Sequence[int], text_of: Callable[[tuple[int, ...]], str]) -> tuple[int, ...]:
    """Return the tokens up to the end of the first pass of a loop, so that no loop is left at the end.

    Arguments, and the result without a loop, are those of ``first_passes``.
    """
    kept = tuple(tokens)
    while (loop := longest_loop(kept)) is not None and (ends_in_loop(kept) or is_repetitive(text_of(kept))):
        kept = kept[: loop.start + loop.period]
    return kept


def ends_in_loop(tokens: Sequence[int]) -> bool:
    """Return whether the longest loop goes on to the last token.

    In a long text such a loop may compress too little to be noticed by ``is_repetitive``.
    """
    loop = longest_loop(tokens)
    return loop is not None and loop.start + loop.length == len(tokens)


def first_passes(tokens: Sequence[int], text_of: Callable[[tuple[int, ...]], str]) -> tuple[int, ...]:
    """Cut the worst loops to their first pass, until the text no longer repeats itself.

    Args:
        tokens: text token ids.
        text_of: returns the text of token ids.

    Returns:
        The tokens that are left: all of them if the text does not repeat itself, or not literally.
    """
    kept = tuple(tokens)
    while is_repetitive(text_of(kept)) and (loop := longest_loop(kept)) is not None:
        kept = kept[: loop.start + loop.period] + kept[loop.start + loop.length :]
    return kept


def longest_loop(tokens: Sequence[int]) -> Loop | None:
    """Return the loop with the most superfluous tokens, of several the one with the shortest pass; None without one."""
    periods = range(1, len(tokens) // LEAST_PASSES + 1)
    loops = [loop for period in periods if (loop := _longest_of(tokens, period)) is not None]
    return max(loops, key=lambda loop: loop.superfluous, default=None)


def _longest_of(tokens: Sequence[int], period: int) -> Loop | None:
    """Return the longest loop with passes of ``period`` tokens: each token equals the one a pass before."""
    best: Loop | None = None
    least = max((LEAST_PASSES - 1) * period, LEAST_SUPERFLUOUS)
    equal = 0
    for index in range(period, len(tokens)):
        equal = equal + 1 if tokens[index] == tokens[index - period] else 0
        if equal >= least and (best is None or equal > best.superfluous):
            best = Loop(index - period - equal + 1, period, period + equal)
    return best
