"""A text cut into its words, so that two texts of the same speech can be compared word by word.

In scripts that put no spaces between words each character counts as one.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from deployments.ingress.transcript.joining import needs_no_spaces
from deployments.shared.contracts import TokenLogprob

MARKS = frozenset("PSZ")
"""Unicode categories of what is no part of a word at its ends: punctuation, symbols, separators."""


def split_words(text: str) -> list[str]:
    """Return the words of a text with all that stands between them; joined, they are the text again.

    What stands before a word belongs to it if a space is in front of it, else to the word before.
    """
    pieces: list[str] = []
    begun, holds_word, is_unspaced = "", False, False
    for character in text:
        is_letter = character.isalnum()
        needs_none = is_letter and needs_no_spaces(ord(character))
        begins = character.isspace() or (is_letter and (needs_none or is_unspaced))
        if begins and holds_word:
            pieces.append(begun)
            begun, holds_word = "", False
        begun += character
        holds_word = holds_word or is_letter
        is_unspaced = needs_none if is_letter else is_unspaced and not character.isspace()
    if holds_word or not pieces:
        return [*pieces, begun] if begun else pieces
    return [*pieces[:-1], pieces[-1] + begun]


def word_logprobs(words: Sequence[str], tokens: Sequence[TokenLogprob]) -> list[float]:
    """Return how sure each word is: the least log probability of the tokens that its letters are in.

    Args:
        words: of a text, as ``split_words`` gives them.
        tokens: of the same text, in order. Where their texts together are another text, no word is sure.
    """
    written = [(character, token.logprob) for token in tokens for character in token.text]
    while written and written[0][0].isspace():
        del written[0]
    sure: list[float] = []
    for word in words:
        of_word, written = written[: len(word)], written[len(word) :]
        if [character for character, _ in of_word] != list(word):
            return [-math.inf] * len(words)
        sure.append(min((logprob for character, logprob in of_word if character.isalnum()), default=0.0))
    return sure


def bare(word: str) -> str:
    """Return a word as it is compared: without case and without the marks around it."""
    return _without_leading_marks(without_marks_behind(word)).casefold()


def without_marks_behind(text: str) -> str:
    """Return a text without the punctuation and spaces at its end."""
    end = len(text)
    while end and unicodedata.category(text[end - 1])[0] in MARKS:
        end -= 1
    return text[:end]


def _without_leading_marks(text: str) -> str:
    start = 0
    while start < len(text) and unicodedata.category(text[start])[0] in MARKS:
        start += 1
    return text[start:]


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many words both begin with."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


def aligned_length(known: Sequence[str], words: Sequence[str]) -> int:
    """Return how many of ``words`` stand for ``known``: those with the least edit distance to it.

    Of several such numbers, one whose last word is that of ``known`` counts, then the one that is nearest to the number
    of the known words.
    """
    same = common_length(known, words)
    if same == len(known):
        return same
    distances = _distances(known[same:], words[same:])
    left = len(known) - same

    def badness(length: int) -> tuple[int, bool, int]:
        ends_alike = length > 0 and words[same + length - 1] == known[-1]
        return distances[length], not ends_alike, abs(length - left)

    return same + min(range(len(distances)), key=badness)


def _distances(known: Sequence[str], words: Sequence[str]) -> list[int]:
    """Return the edit distance of ``known`` to each beginning of ``words``, ``[len(words) + 1]``."""
    row = list(range(len(words) + 1))
    for count, word in enumerate(known, start=1):
        above, row = row, [count]
        for index, other in enumerate(words):
            row.append(min(above[index] + (word != other), above[index + 1] + 1, row[index] + 1))
    return row
