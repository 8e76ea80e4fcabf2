"""A finished transcription in the formats that people keep, and the files it is written to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from deployments.commands.client.events import Summary, Transcription
from deployments.commands.errors import CommandError
from deployments.commands.files import make_directory, replace_file
from deployments.ingress.transcript.joining import join_turns
from deployments.shared.subtitles import as_srt, as_vtt

FORMATS: Final[Mapping[str, Callable[[Transcription], str]]] = {
    "txt": lambda transcription: f"{_lines(transcription.summary)}\n",
    "srt": lambda transcription: as_srt(transcription.summary.segments),
    "vtt": lambda transcription: as_vtt(transcription.summary.segments),
    "json": lambda transcription: json.dumps(transcription.document, ensure_ascii=False, indent=2) + "\n",
}
"""Suffix of the file -> what is in it."""


def _lines(summary: Summary) -> str:
    """Return the text; where it is known who speaks, a line for each turn."""
    if not any(segment.speaker for segment in summary.segments):
        return summary.text
    return join_turns((segment.speaker, segment.text) for segment in summary.segments)


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the texts of audio files go.

    Attributes:
        formats: the suffixes of the files, one file for each.
        directory: of all files; None: each beside its audio.
        overwrite: whether a file that is there is replaced.
    """

    formats: tuple[str, ...]
    directory: Path | None
    overwrite: bool

    def paths(self, audio: Path) -> list[Path]:
        """Return the files that are written for one audio file, in the order of the formats."""
        directory = self.directory or audio.parent
        return [directory / f"{audio.stem}.{suffix}" for suffix in self.formats]

    def check_paths(self, audio_files: Sequence[Path]) -> None:
        """Refuse audio files whose texts would be written over each other, or over audio.

        Raises:
            click.UsageError: names the files.
        """
        audio_paths = {audio.resolve() for audio in audio_files}
        audio_of: dict[Path, Path] = {}
        for audio in audio_files:
            for path in self.paths(audio):
                if path.resolve() in audio_paths:
                    raise click.UsageError(f"The text of {audio} would replace {path}; choose another --output-dir")
                other = audio_of.setdefault(path.resolve(), audio)
                if other != audio:
                    raise click.UsageError(f"{other} and {audio} would both go to {path}; transcribe them one by one")

    def make_directory(self) -> None:
        """Make the directory of the texts, if there is one for all of them.

        Raises:
            CommandError: it cannot be made.
        """
        if self.directory is not None:
            make_directory(self.directory)

    def check_free(self, audio: Path) -> None:
        """Refuse to replace a file, unless that is wanted.

        Raises:
            CommandError: names the file.
        """
        for path in self.paths(audio):
            if path.exists() and not self.overwrite:
                raise CommandError(f"{path} is there already; --overwrite replaces it")

    def write(self, audio: Path, transcription: Transcription) -> list[Path]:
        """Write all files of one audio file, each in one step; return their paths.

        Raises:
            CommandError: a file cannot be written.
        """
        paths = self.paths(audio)
        for suffix, path in zip(self.formats, paths, strict=True):
            replace_file(path, FORMATS[suffix](transcription).encode())
        return paths
