"""The contenders that transcribe: the service through HTTP, and faster-whisper on the same weights."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import aiohttp
from faster_whisper import WhisperModel

from deployments.shared.languages import LANGUAGES
from loadtests.common.client import make_upload, send
from loadtests.common.replies import NO_ANSWER, OK

PATIENCE_S = 1800.0
CODES = {name: code for code, name in LANGUAGES.items()}
THREADS = os.cpu_count() or 1
"""A peer has the machine to itself."""
BEAMS = {"faster-whisper": 1, "faster-whisper-beam-5": 5}
"""Peers and the width of their search: the service's own, and faster-whisper's default."""


@dataclass(frozen=True)
class Transcription:
    """What came back for one file.

    Attributes:
        status: HTTP status; ``NO_ANSWER`` where there was none, or where a peer raised.
        code: the error's code, or the exception's name; empty beside a text.
        language: ISO code, where the answer names it.
        seconds: how long it took.
    """

    status: int
    code: str
    text: str
    language: str
    seconds: float


Answered = Callable[[str, Transcription], None]


class Contender(Protocol):
    """Something that turns files into text, so many at a time."""

    @property
    def name(self) -> str: ...

    @property
    def setup(self) -> str:
        """Its options, in words."""

    def transcribe(self, directory: Path, files: Sequence[str], answered: Answered) -> None:
        """Transcribe the files in order and report each as soon as it is done."""


@dataclass(frozen=True)
class ServiceContender:
    """The service: a closed loop of clients, each of which sends the next file when its last one is answered."""

    url: str
    clients: int
    response_format: str = "json"

    @property
    def name(self) -> str:
        one = f"service, {self.clients} client{'s' * (self.clients > 1)}"
        return one if self.response_format == "json" else f"{one}, {self.response_format}"

    @property
    def setup(self) -> str:
        return f"HTTP, `response_format={self.response_format}`, nothing else set, {self.clients} at a time"

    def transcribe(self, directory: Path, files: Sequence[str], answered: Answered) -> None:
        asyncio.run(self._transcribe(directory, files, answered))

    async def _transcribe(self, directory: Path, files: Sequence[str], answered: Answered) -> None:
        following = iter(files)
        connector, timeout = aiohttp.TCPConnector(limit=self.clients), aiohttp.ClientTimeout(PATIENCE_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(self._client(session, directory, following, answered) for _ in range(self.clients)))

    async def _client(
        self, session: aiohttp.ClientSession, directory: Path, following: Iterator[str], answered: Answered
    ) -> None:
        for file in following:
            answered(file, await self._send(session, directory / file))

    async def _send(self, session: aiohttp.ClientSession, path: Path) -> Transcription:
        content = await asyncio.to_thread(path.read_bytes)
        upload = make_upload(content, {"response_format": self.response_format}, filename=path.name)
        began = perf_counter()
        reply = await send(session, self.url, upload)
        seconds = perf_counter() - began
        # A transcript that is cut off is none.
        status = NO_ANSWER if reply.status == OK and reply.text is None else reply.status
        return Transcription(status, reply.code, reply.text or "", CODES.get(reply.language, ""), seconds)


class FasterWhisper:
    """faster-whisper in this process, one file at a time: language detected, its voice filter and its fallback on."""

    def __init__(self, name: str, model: Path) -> None:
        self.name = name
        self._beam_size = BEAMS[name]
        self._model: Any = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=THREADS)

    @property
    def setup(self) -> str:
        return f"`beam_size={self._beam_size}`, `vad_filter=True`, else its defaults; int8, {THREADS} threads"

    def transcribe(self, directory: Path, files: Sequence[str], answered: Answered) -> None:
        for file in files:
            answered(file, self.transcribe_file(directory / file))

    def transcribe_file(self, path: Path) -> Transcription:
        """Transcribe one file, and tell what went wrong where it did."""
        began = perf_counter()
        try:
            segments, info = self._model.transcribe(str(path), beam_size=self._beam_size, vad_filter=True)
            text = "".join(segment.text for segment in segments).strip()
        except (ValueError, IndexError, RuntimeError) as error:
            return Transcription(NO_ANSWER, type(error).__name__, "", "", perf_counter() - began)
        return Transcription(OK, "", text, info.language, perf_counter() - began)
