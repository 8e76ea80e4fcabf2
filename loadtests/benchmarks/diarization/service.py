"""Asking the service who says which word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from loadtests.benchmarks.diarization.recordings import Recording
from loadtests.benchmarks.diarization.speaker_words import WordErrors, word_errors
from loadtests.benchmarks.diarization.timeline import Said
from loadtests.benchmarks.parts.output import say
from loadtests.common.client import UnansweredError, fetch_document, make_upload
from loadtests.common.cpu_time import of_role
from loadtests.common.memory import peak_mib

FIELDS = {"diarize": "true", "response_format": "verbose_json", "timestamp_granularities[]": "word", "language": "en"}
PATIENCE_S = 1800.0
DIARIZER = "Diarizer"
NOBODY = "nobody"
"""The speaker of a word that the service gives to nobody."""


@dataclass(frozen=True)
class Answer:
    """What the service answered for one recording.

    Attributes:
        errors: of its words and their speakers.
        seconds: until it was there, transcription included.
    """

    errors: WordErrors
    seconds: float


def ask_for_words(url: str, files: Mapping[str, Recording]) -> dict[str, Answer]:
    """Return name of a recording -> its answer, for all recordings of which the words are known, one after the other.

    Raises:
        UnansweredError: a recording was not transcribed, or has no words with speakers.
    """
    return asyncio.run(_ask_for_words(url, {path: recording for path, recording in files.items() if recording.said}))


async def _ask_for_words(url: str, files: Mapping[str, Recording]) -> dict[str, Answer]:
    found = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_S)) as session:
        for path, recording in files.items():
            say(f"the service: {recording.name}")
            content = await asyncio.to_thread(Path(path).read_bytes)
            began = time.monotonic()
            document = await fetch_document(session, url, make_upload(content, FIELDS, filename=Path(path).name))
            seconds = time.monotonic() - began
            found[recording.name] = Answer(word_errors(recording.said, read_words(document)), seconds)
    return found


def diarizer_peak_mib(launcher: psutil.Process) -> float:
    """Return the most memory that a replica of the Diarizer ever held, with Python and all libraries, in MiB.

    Raises:
        ValueError: the service has none.
    """
    replicas = of_role(launcher, DIARIZER)
    if not replicas:
        raise ValueError("No replica of the Diarizer runs: nobody has asked for speakers.")
    return max(map(peak_mib, replicas))


def read_words(document: Mapping[str, Any]) -> list[Said]:
    """Return the words of a ``verbose_json`` with their speakers.

    Raises:
        UnansweredError: it has none.
    """
    words = document.get("words", [])
    if words and not any("speaker" in word for word in words):
        raise UnansweredError("The service names no speakers. Measure one that knows the field 'diarize'.")
    return [Said(word.get("speaker", NOBODY), word["word"]) for word in words]
