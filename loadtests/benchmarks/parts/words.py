"""Words as word error rates compare them: case and punctuation do not count."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jiwer


def words(text: str) -> str:
    """Return a text's lower-case words with single spaces between them."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def word_error_rate(pairs: Sequence[tuple[str, str]]) -> float:
    """Return errors per spoken word, over pairs of what is spoken and what was heard."""
    return float(jiwer.wer([words(spoken) for spoken, _ in pairs], [words(heard) for _, heard in pairs]))
