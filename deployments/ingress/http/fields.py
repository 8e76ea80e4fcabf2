"""The plain fields of a multipart form, in whatever way clients spell their names, lists and gaps."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from deployments.shared.errors import InvalidRequestError

LIST_FIELDS: Final = frozenset(
    {
        "include",
        "keywords",
        "known_speaker_names",
        "known_speaker_references",
        "languages",
        "timestamp_granularities",
    }
)

SPLIT_AT_COMMAS: Final = frozenset({"include", "languages", "timestamp_granularities"})
"""Lists whose items are single words."""

OBJECT_FIELDS: Final = frozenset({"chunking_strategy"})
"""Fields that hold a JSON object, or come as one field per member: ``chunking_strategy[threshold]``."""

MEMBER: Final = re.compile(r"(\w+)\[([a-z]\w*)\]")

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
    for key, value in fields:
        name, member = _object_and_member(key)
        if name not in known:
            unknown[name] = None
        elif is_absent(value):
            continue
        elif name in LIST_FIELDS:
            values.setdefault(name, []).extend(_items(name, value))
        elif member is not None:
            _set(_members(values, name), member, value, f"{name}[{member}]")
        else:
            _set(values, name, _json_object(value) if name in OBJECT_FIELDS else value, name)
    return values, tuple(unknown)


def _object_and_member(key: str) -> tuple[str, str | None]:
    found = MEMBER.fullmatch(key)
    return (found[1], found[2]) if found and found[1] in OBJECT_FIELDS else (key, None)


def _members(values: dict[str, Any], name: str) -> dict[str, Any]:
    members = values.setdefault(name, {})
    if not isinstance(members, dict):
        raise InvalidRequestError(f"{name} is given as a whole and member by member", param=name)
    return members


def _set(values: dict[str, Any], name: str, value: object, spelling: str) -> None:
    if name in values:
        raise InvalidRequestError(f"{spelling} is given twice", param=spelling.partition("[")[0])
    values[name] = value


def _json_object(value: str) -> object:
    """Return the object that a field holds; its text where that is no JSON object."""
    parsed = _json(value) if value.lstrip().startswith("{") else None
    return value if parsed is None else parsed


def _items(name: str, value: str) -> Iterator[str]:
    """Yield the items of a list that one field holds: as JSON, between commas, or just one."""
    listed = _json_list(value)
    for item in [value] if listed is None else listed:
        yield from filter(None, map(str.strip, item.split(","))) if name in SPLIT_AT_COMMAS else (item,)


def _json_list(value: str) -> list[str] | None:
    items = _json(value) if value.lstrip().startswith("[") else None
    return None if items is None else [str(item) for item in items]


def _json(value: str) -> Any:
    """Return what JSON says; None where it is none."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
