"""A closed loop over HTTP: a fixed number of clients, each sending its next request when the last one is answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
import numpy as np

from loadtests.common.client import Upload, make_upload, transcribe
from loadtests.common.clips import Clip

T = TypeVar("T")


@dataclass
class LoadResult:
    """What the clients of one closed loop met.

    Attributes:
        seconds: how long the loop lasted.
        audio_s: seconds of audio in the answered requests.
        latencies_s: seconds until each answer.
        texts: clip name -> every different text it was answered with.
    """

    seconds: float = 0.0
    audio_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    texts: dict[str, set[str]] = field(default_factory=dict)

    @property
    def requests_per_s(self) -> float:
        return len(self.latencies_s) / self.seconds

    def add(self, name: str, audio_s: float, seconds: float, text: str) -> None:
        """Take in one answer."""
        self.latencies_s.append(seconds)
        self.audio_s += audio_s
        self.texts.setdefault(name, set()).add(text)

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_s, percent)) * 1000


def run_closed_loop(
    base_url: str, clips: Sequence[Clip], *, clients: int, seconds: float, whole_passes: bool = False
) -> LoadResult:
    """Load ``base_url`` for about ``seconds``.

    Args:
        whole_passes: whether every clip is sent equally often, at least once, however long that takes.

    Raises:
        UnansweredError: a request got no transcript, which ends the loop.
    """
    return asyncio.run(_run(base_url, clips, clients, seconds, whole_passes=whole_passes))


def following(items: Sequence[T], seconds: float, *, whole_passes: bool) -> Iterator[T]:
    """Yield the items again and again until ``seconds`` have passed since the first was asked for.

    Args:
        whole_passes: whether to end after the last item only.
    """
    until = time.perf_counter() + seconds
    for number, item in enumerate(itertools.cycle(items)):
        may_end = number % len(items) == 0 if whole_passes else True
        if number and may_end and time.perf_counter() >= until:
            return
        yield item


async def keep_sending(
    session: aiohttp.ClientSession, base_url: str, queue: Iterator[tuple[Clip, Upload]], result: LoadResult
) -> None:
    """Send one upload after the other; several clients may share the queue.

    Raises:
        UnansweredError: a request got no transcript.
    """
    for clip, upload in queue:
        began = time.perf_counter()
        text = await transcribe(session, base_url, upload)
        result.add(clip.name, clip.seconds, time.perf_counter() - began, text)


async def _run(base_url: str, clips: Sequence[Clip], clients: int, seconds: float, *, whole_passes: bool) -> LoadResult:
    result = LoadResult()
    uploads = [(clip, make_upload(clip.wav)) for clip in clips]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:
        began = time.perf_counter()
        queue = following(uploads, seconds, whole_passes=whole_passes)
        await asyncio.gather(*(keep_sending(session, base_url, queue, result) for _ in range(clients)))
        result.seconds = time.perf_counter() - began
    return result
