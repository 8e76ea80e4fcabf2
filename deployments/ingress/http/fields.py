"""The plain fields of a multipart form, in whatever way clients spell their names, lists and gaps."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from deployments.shared.errors import InvalidRequestError

LIST_FIELDS: Final = frozenset({"include", "keywords", "languages", "timestamp_granularities"})

SPLIT_AT_COMMAS: Final = frozenset({"include", "languages", "timestamp_granularities"})
"""Lists whose items are single words."""

INDEX: Final = re.compile(r"\[\d*\]$")
"""What stands behind the name of a list: nothing between the brackets, or the number of the item."""

ABSENT: Final = frozenset({"", "none", "null", "undefined"})
"""What clients send for a value that they do not have: nothing, or what their language calls it."""


def field_name(key: str) -> str:
    """Return the name of a field without the brackets of a list."""
    return INDEX.sub("", key)


def is_absent(value: str) -> bool:
    """Return whether a client that sends this value has none."""
    return value.strip().lower() in ABSENT


def read_fields(fields: Iterable[tuple[str, str]], known: Collection[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the value of each known field, a list where it takes one, and the names that are not known.

    Args:
        fields: names, as ``field_name`` returns them, and values, in the order in which they were sent.
        known: names of the fields that mean something.

    Raises:
        InvalidRequestError: a field that takes one value has two.
    """
    values: dict[str, Any] = {}
    unknown: dict[str, None] = {}
    for name, value in fields:
        if name not in known:
            unknown[name] = None
        elif is_absent(value):
            continue
        elif name in LIST_FIELDS:
            values.setdefault(name, []).extend(_items(name, value))
        elif name in values:
            raise InvalidRequestError(f"{name} is given twice", param=name)
        else:
            values[name] = value
    return values, tuple(unknown)


def _items(name: str, value: str) -> Iterator[str]:
    """Yield the items of a list that one field holds: as JSON, between commas, or just one."""
    listed = _json_list(value)
    for item in [value] if listed is None else listed:
        yield from filter(None, map(str.strip, item.split(","))) if name in SPLIT_AT_COMMAS else (item,)


def _json_list(value: str) -> list[str] | None:
    if not value.lstrip().startswith("["):
        return None
    try:
        items = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return [str(item) for item in items]
