"""A closed loop over HTTP: a fixed number of clients, each sending its next request when the last one is answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import aiohttp
import numpy as np

from loadtests.common.clips import Clip

OK = 200


class UnansweredError(RuntimeError):
    """A request got another answer than 200, although the service was asked for no more than it can do."""


@dataclass
class LoadResult:
    """What one run saw.

    Attributes:
        latencies_s: of every answered request.
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


def run(base_url: str, clips: Sequence[Clip], *, clients: int, seconds: float) -> LoadResult:
    """Load ``base_url`` for about ``seconds``; any answer but 200 ends the run.

    Raises:
        UnansweredError: an answer other than 200.
    """
    return asyncio.run(_run(base_url, clips, clients, seconds))


async def _run(base_url: str, clips: Sequence[Clip], clients: int, seconds: float) -> LoadResult:
    result = LoadResult()
    following = itertools.cycle(clips)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients)) as session:
        began = time.perf_counter()
        until = began + seconds
        await asyncio.gather(*(_client(session, base_url, following, until, result) for _ in range(clients)))
        result.seconds = time.perf_counter() - began
    return result


async def _client(
    session: aiohttp.ClientSession, base_url: str, following: Iterator[Clip], until: float, result: LoadResult
) -> None:
    while time.perf_counter() < until:
        clip = next(following)
        began = time.perf_counter()
        text = await post(session, base_url, clip.wav)
        result.latencies_s.append(time.perf_counter() - began)
        result.audio_s += clip.seconds
        result.texts.setdefault(clip.name, set()).add(text)


async def post(session: aiohttp.ClientSession, base_url: str, audio: bytes) -> str:
    """The service's text of one upload.

    Raises:
        UnansweredError: any answer but 200.
    """
    form = aiohttp.FormData()
    form.add_field("file", audio, filename="clip.wav", content_type="audio/wav")
    async with session.post(f"{base_url}/v1/audio/transcriptions", data=form) as answer:
        document = await answer.json()
        if answer.status != OK:
            raise UnansweredError(f"{answer.status}: {document}")
    return str(document["text"])
