"""The files of a model: which ones it needs, and whether a directory holds the right ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from deployments.shared.errors import ConfigurationError
from deployments.shared.model.sources import Source
from npu_encoder.weights import MODEL_FILE

TOKENIZER_FILE: Final = "tokenizer.json"
CARD_FILE: Final = "amanuensis.json"
PREPROCESSOR_FILE: Final = "preprocessor_config.json"
VOCABULARY_FILES: Final = ("vocabulary.json", "vocabulary.txt")
WANTED: Final = ("config.json", PREPROCESSOR_FILE, MODEL_FILE, TOKENIZER_FILE, "vocabulary.*", CARD_FILE)
"""The files that are fetched from a hub repository, as patterns."""


def is_wanted(file: str, source: Source) -> bool:
    """Return whether a file of the source's repository belongs to the model."""
    return file in source.sums if source.sums else any(fnmatch(file, pattern) for pattern in WANTED)


def missing_files(directory: Path, source: Source | None = None) -> list[str]:
    """Return the names of the files that a model needs and ``directory`` lacks."""
    if source is not None and source.sums:
        return [file for file in source.sums if not (directory / file).is_file()]
    missing = [file for file in (MODEL_FILE, TOKENIZER_FILE) if not (directory / file).is_file()]
    if not any((directory / file).is_file() for file in VOCABULARY_FILES):
        missing.append(" or ".join(VOCABULARY_FILES))
    return missing


def check_complete(directory: Path, source: Source | None = None) -> None:
    """Refuse a directory that lacks a file.

    Raises:
        ConfigurationError: a file is missing; the message says which one, and where to get it.
    """
    missing = missing_files(directory, source)
    if missing:
        raise ConfigurationError(
            f"The model directory {directory} lacks {' and '.join(missing)}; {what_to_place(source, directory)}"
        )


def check_sums(directory: Path, sums: Mapping[str, str], remedy: str) -> None:
    """Refuse a directory in which a file is not the expected one.

    Args:
        directory: complete.
        sums: file name -> expected SHA-256 in hexadecimal.
        remedy: what the message asks the operator to do.

    Raises:
        ConfigurationError: a file has another SHA-256; the message names both.
    """
    for file, expected in sums.items():
        found = sha256(directory / file)
        if found != expected:
            raise ConfigurationError(
                f"The file {directory / file} has the SHA-256 {found} instead of {expected}; {remedy}"
            )


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def what_to_place(source: Source | None, directory: Path | str) -> str:
    """Say which files the operator has to put into ``directory``."""
    if source is not None and source.sums:
        files, owner = ", ".join(source.sums), f"{source.repository} at revision {source.revision}"
    else:
        files = f"{MODEL_FILE}, config.json, {TOKENIZER_FILE}, {' or '.join(VOCABULARY_FILES)}"
        files += f", and {PREPROCESSOR_FILE} if there is one"
        owner = source.repository if source is not None else "a CTranslate2 conversion"
    return f"place the files of {owner} ({files}) in {directory}"
