"""Marks that end sentences and clauses, and those that enclose words, in the scripts Whisper writes."""
# ruff: noqa: RUF001

from __future__ import annotations

from typing import Final

SENTENCE_ENDS: Final = ".!?…。！？｡؟۔।"
CLAUSE_ENDS: Final = ",;:—–、，；：،؛"
OPENING_MARKS: Final = "\"'“‘¿¡([{-«「『（《"
CLOSING_MARKS: Final = "\"'”’)]}»」』）》"


def ends_sentence(word: str) -> bool:
    """Return whether ``word`` ends with the mark of a sentence end, with or without closing quotes."""
    return word.rstrip(CLOSING_MARKS).endswith(tuple(SENTENCE_ENDS))


def ends_clause(word: str) -> bool:
    """Return whether ``word`` ends with a comma or the like, with or without closing quotes."""
    return word.rstrip(CLOSING_MARKS).endswith(tuple(CLAUSE_ENDS))
