"""Measure how long after a word its text comes, while several people speak live.

``amanuensis bench live DIR --speakers N``: each speaker streams recordings of a corpus as fast as they were spoken,
with silence between them, over OpenAI's realtime protocol. First the same recordings are transcribed as files: their
word times say when a word was said, and their texts what a live text should be. DIR is what ``amanuensis bench
accuracy`` takes; the environment variable ``SPEECH_CORPUS`` may name it. Without ``--url`` the service is started.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np

from deployments.shared.model.finding import resolve
from loadtests.benchmarks.parts.clip_sets import ClipSet, read_clips_or_exit
from loadtests.benchmarks.parts.live_delays import Said, delays, said_words, told_words
from loadtests.benchmarks.parts.live_speaker import Spoken, Stream, speak
from loadtests.benchmarks.parts.output import publish, say
from loadtests.benchmarks.parts.words import word_error_rate
from loadtests.common.client import PATH, make_upload
from loadtests.common.clips import Clip
from loadtests.common.cpu_time import cpu_s_between, cpu_s_by_role
from loadtests.common.machine import describe_commit, describe_machine
from loadtests.common.paths import ROOT
from loadtests.common.service_process import Application, Service, started

WORD_TIMES = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
STAGGER_S = 0.7
"""Seconds between the first words of two speakers: people do not begin in step."""


@dataclass(frozen=True)
class FileText:
    """What a recording says, transcribed as a file.

    Attributes:
        timed: each word, and where it ends, in seconds.
    """

    text: str
    timed: tuple[tuple[str, float], ...]


def main() -> None:
    options = _options()
    clips = read_clips_or_exit(options.directory, options.files)
    with _service(options.url, options.model) as (url, service):
        texts = asyncio.run(transcribe_files(url, clips.clips))
        rows = [_measure(url, service, clips, texts, speakers, options.seconds) for speakers in options.speakers]
    head = (
        f"{describe_machine()}, {describe_commit(ROOT)}; {clips.description}, {options.seconds:g} s per speaker. "
        "Delays in seconds, from the end of a word to its text.\n\n"
        "| speakers | words | p50 | p95 | longest | told while spoken | errors against the files' texts | against what "
        "is spoken | failed | CPU s per s of speech |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    publish(head + "".join(rows), options.output)


def row_of(streams: Sequence[Stream], spoken: Sequence[Spoken], texts: Mapping[str, FileText], cpu: str) -> str:
    """Return the row of the table for speakers who spoke at the same time."""
    found = [delay for stream, told in zip(streams, spoken, strict=True) for delay in delays_of(stream, told, texts)]
    from_files = [" ".join(texts[clip.name].text for clip in stream.clips) for stream in streams]
    references = [" ".join(clip.spoken for clip in stream.clips) for stream in streams]
    live = [told.text for told in spoken]
    errors = [code for told in spoken for code in told.errors]
    total = sum(len(list(_said(stream, texts))) for stream in streams)
    columns = (
        str(len(streams)),
        f"{len(found)} of {total}",
        *(f"{value:.2f}" for value in (np.percentile(found, (50, 95, 100)) if found else (np.nan,) * 3)),
        f"{np.mean([share_before_end(told) for told in spoken]):.0%}",
        f"{100 * word_error_rate([*zip(from_files, live, strict=True)]):.1f}%",
        f"{100 * word_error_rate([*zip(references, live, strict=True)]):.1f}%",
        ", ".join(f"{errors.count(code)} {code}" for code in sorted(set(errors))) or "0",
        cpu,
    )
    return f"| {' | '.join(columns)} |\n"


def delays_of(stream: Stream, told: Spoken, texts: Mapping[str, FileText]) -> list[float]:
    """Return how long after each word its text came, in seconds."""
    return delays(list(_said(stream, texts)), told_words(told.deltas))


def share_before_end(told: Spoken) -> float:
    """Return the share of the words that were told before the last text of their utterance."""
    total = len(told_words(told.deltas))
    return (total - len(told_words(told.last_deltas))) / total if total else 0.0


def _said(stream: Stream, texts: Mapping[str, FileText]) -> Iterator[Said]:
    for clip, start_s in zip(stream.clips, stream.starts_s, strict=True):
        yield from said_words(texts[clip.name].timed, start_s)


async def transcribe_files(url: str, clips: Sequence[Clip]) -> dict[str, FileText]:
    """Return what each clip says, by its name.

    Raises:
        aiohttp.ClientResponseError: the service gave no text for one of them.
    """
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        return {clip.name: await _transcribe_file(session, url, clip) for clip in clips}


async def _transcribe_file(session: aiohttp.ClientSession, url: str, clip: Clip) -> FileText:
    upload = make_upload(clip.wav, WORD_TIMES)
    async with session.post(url + PATH, data=upload.body, headers=upload.headers) as answer:
        document = json.loads(await answer.read())
    return FileText(document["text"], tuple((word["word"], word["end"]) for word in document["words"]))


def _measure(
    url: str, service: Service | None, clips: ClipSet, texts: Mapping[str, FileText], speakers: int, seconds: float
) -> str:
    say(f"{speakers} speakers for {seconds:g} s")
    streams = [Stream.of(clips.clips, number * len(clips.clips) // speakers, seconds) for number in range(speakers)]
    before = None if service is None else cpu_s_by_role(service.process)
    spoken = asyncio.run(_speak_all(url, streams))
    if service is None or before is None:
        return row_of(streams, spoken, texts, "-")
    used_s = sum(cpu_s_between(before, cpu_s_by_role(service.process)).values())
    speech_s = sum(clip.seconds for stream in streams for clip in stream.clips)
    return row_of(streams, spoken, texts, f"{used_s / speech_s:.2f}")


async def _speak_all(url: str, streams: Sequence[Stream]) -> list[Spoken]:
    async with aiohttp.ClientSession() as session:

        async def one(number: int, stream: Stream) -> Spoken:
            await asyncio.sleep(STAGGER_S * number)
            return await speak(session, url, stream)

        return await asyncio.gather(*(one(number, stream) for number, stream in enumerate(streams)))


@contextmanager
def _service(url: str | None, model: str) -> Iterator[tuple[str, Service | None]]:
    """Give the base URL of the service, and the service itself where it is started here."""
    if url is not None:
        yield url.rstrip("/"), None
        return
    with started([Application("amanuensis", "/", model=str(resolve(model)))]) as service:
        yield service.url, service


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path, nargs="?", help="the corpus; else SPEECH_CORPUS names it")
    parser.add_argument("--speakers", type=int, nargs="+", default=[1, 2, 4], help="how many speak at the same time")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each speaks, at least")
    parser.add_argument("--files", nargs="+", default=(), metavar="PATTERN", help="recordings of the corpus")
    parser.add_argument("--model", default="base", help="of the service that is started")
    parser.add_argument("--url", help="of a service that runs; else one is started")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report to this file too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
