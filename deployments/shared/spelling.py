"""Names that nobody knows, and those that were probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(name: str, what: str, known: Iterable[str], prefix: str = "") -> str:
    """Say that a name is none of those that are known, and which one is nearest.

    Args:
        name: as it was written.
        what: what it should have been, with its article: ``a setting``.
        known: all names that would be right, without the prefix.
        prefix: what all names begin with, so that it makes none of them more alike.
    """
    by_key = {each.lower(): each for each in known}
    nearest = get_close_matches(name[len(prefix) :].lower(), by_key, n=1)
    meant = f" (did you mean {prefix}{by_key[nearest[0]]}?)" if nearest else ""
    return f"{name} is not {what}{meant}"
