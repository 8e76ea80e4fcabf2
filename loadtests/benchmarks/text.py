"""Text as word error rates compare it."""

from __future__ import annotations

import re


def words(text: str) -> str:
    """Lower-case words with single spaces: case and punctuation do not count."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())
