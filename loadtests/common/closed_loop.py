"""A closed loop over HTTP: a fixed number of clients, each sending its next request when the last one is answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import aiohttp
import numpy as np

from loadtests.common.client import Upload, make_upload, transcribe
from loadtests.common.clips import Clip


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

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_s, percent)) * 1000


def run_closed_loop(base_url: str, clips: Sequence[Clip], *, clients: int, seconds: float) -> LoadResult:
    """Load ``base_url`` for about ``seconds``.

    Raises:
        UnansweredError: a request got no transcript, which ends the loop.
    """
    return asyncio.run(_run(base_url, clips, clients, seconds))


async def _run(base_url: str, clips: Sequence[Clip], clients: int, seconds: float) -> LoadResult:
    result = LoadResult()
    following = itertools.cycle([(clip, make_upload(clip.wav)) for clip in clips])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:
        began = time.perf_counter()
        until = began + seconds
        await asyncio.gather(*(_client(session, base_url, following, until, result) for _ in range(clients)))
        result.seconds = time.perf_counter() - began
    return result


async def _client(
    session: aiohttp.ClientSession,
    base_url: str,
    following: Iterator[tuple[Clip, Upload]],
    until: float,
    result: LoadResult,
) -> None:
    while time.perf_counter() < until:
        clip, upload = next(following)
        began = time.perf_counter()
        text = await transcribe(session, base_url, upload)
        result.latencies_s.append(time.perf_counter() - began)
        result.audio_s += clip.seconds
        result.texts.setdefault(clip.name, set()).add(text)
