"""The types of settings: what a value may be, and how it may be written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

Value = TypeVar("Value")


def _absolute(path: Path) -> Path:
    """Return the path as seen from where the service is started; replicas may run elsewhere."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"there is no home directory for {path}; name an absolute path") from None


def _absolute_directory(name: str) -> str:
    """Return a name as it is, unless it is that of a directory."""
    path = _absolute(Path(name))
    return str(path) if path.is_dir() else name


def _listed(value: object) -> object:
    """Return the items of a list that is written as text: in JSON, or with commas between them."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [item for item in map(str.strip, value.split(",")) if item]
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"{value} is not JSON ({error}); write the items with commas between them") from None


AbsolutePath: TypeAlias = Annotated[Path, AfterValidator(_absolute)]
NameOrDirectory: TypeAlias = Annotated[str, AfterValidator(_absolute_directory)]
Listed: TypeAlias = Annotated[tuple[Value, ...], NoDecode, BeforeValidator(_listed)]
Positive: TypeAlias = Annotated[int, Field(ge=1)]
NotNegative: TypeAlias = Annotated[int, Field(ge=0)]
Seconds: TypeAlias = Annotated[float, Field(gt=0)]
