"""Measuring what a service does alone and at its best; a load test derives its load and its limits from that."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import aiohttp

from loadtests.common.audio_files import SHORT, AudioFile
from loadtests.common.client import make_upload, transcribe
from loadtests.common.closed_loop import run_closed_loop
from loadtests.common.speech import Speech

CLIENTS = 16
WARM_UP_S = 2.0
CAPACITY_S = 6.0
CAPACITY_REQUESTS = 20
"""The closed loop lasts at least so many times as long as one request alone."""


@dataclass(frozen=True)
class Calibration:
    """One service with one model on one machine.

    Attributes:
        texts: file -> its text when it was asked for alone, which every later answer must repeat.
        alone_s: file -> seconds until that answer.
        request_s: median seconds that a short file takes alone.
        capacity: short requests answered per second, with 16 clients in a closed loop.
        mean_clip_s: mean seconds of audio in such a request.
    """

    texts: dict[str, str]
    alone_s: dict[str, float]
    request_s: float
    capacity: float
    mean_clip_s: float

    @property
    def turn_s(self) -> float:
        """Seconds in which the service answers each of the 16 clients once."""
        return CLIENTS / self.capacity


def calibrate(url: str, speech: Speech, files: Iterable[AudioFile]) -> Calibration:
    """Ask for each file alone, then for the clips with 16 clients.

    Args:
        files: what is learnt as well; the clips of ``speech`` are learnt in any case.

    Raises:
        UnansweredError: a request got no text: 16 clients are within what any service must bear.
    """
    run_closed_loop(url, speech.clips, clients=1, seconds=WARM_UP_S)
    texts, alone_s = asyncio.run(learn(url, speech, files))
    request_s = request_s_of(speech, alone_s)
    seconds = max(CAPACITY_S, CAPACITY_REQUESTS * request_s)
    capacity = run_closed_loop(url, speech.clips, clients=CLIENTS, seconds=seconds).requests_per_s
    return Calibration(texts, alone_s, request_s, capacity, speech.mean_clip_s)


async def learn(url: str, speech: Speech, files: Iterable[AudioFile] = ()) -> tuple[dict[str, str], dict[str, float]]:
    """Ask for each clip and file, one after the other; return the texts and the seconds that each took.

    Raises:
        UnansweredError: a request got no text.
    """
    texts: dict[str, str] = {}
    alone_s: dict[str, float] = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        for file in [*(AudioFile(clip.name, SHORT, clip.wav) for clip in speech.clips), *files]:
            if file.name not in texts:
                began = time.perf_counter()
                texts[file.name] = await transcribe(session, url, make_upload(file.content))
                alone_s[file.name] = time.perf_counter() - began
    return texts, alone_s


def request_s_of(speech: Speech, alone_s: Mapping[str, float]) -> float:
    """Return the median seconds of a clip alone."""
    return statistics.median(alone_s[clip.name] for clip in speech.clips)
