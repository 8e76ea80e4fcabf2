"""Measure how long after a word its text comes, while several people speak live.

``amanuensis bench live DIR --speakers N``: each speaker streams recordings of a corpus as fast as they were spoken,
with silence between them, over OpenAI's realtime protocol. First the same recordings are transcribed as files: their
word times say when a word was said, and their texts what a live text should be. DIR is what ``amanuensis bench
accuracy`` takes; the environment variable ``SPEECH_CORPUS`` may name it. Without ``--url`` the service is started.
With ``--http-clients N`` so many clients of it transcribe the recordings as files meanwhile, one after the other. With
``--whisperlivekit PROGRAM`` the same is then said to a peer, after the service has stopped:

    python3.11 -m venv PEER && PEER/bin/pip install whisperlivekit    # PEER/bin/whisperlivekit-server
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path

import aiohttp
import numpy as np
import psutil

from deployments.shared.model.finding import resolve
from loadtests.benchmarks.parts.clip_sets import ClipSet, read_clips_or_exit
from loadtests.benchmarks.parts.live_delays import Said, delays, said_words, told_words
from loadtests.benchmarks.parts.live_peer import NAME as PEER
from loadtests.benchmarks.parts.live_peer import speak as speak_to_peer
from loadtests.benchmarks.parts.live_peer import whisperlivekit
from loadtests.benchmarks.parts.live_speaker import Spoken, Stream, speak
from loadtests.benchmarks.parts.output import publish, say
from loadtests.benchmarks.parts.words import word_error_rate
from loadtests.common.client import PATH, UnansweredError, Upload, make_upload, transcribe
from loadtests.common.clips import Clip
from loadtests.common.cpu_time import cpu_s_of, family_of
from loadtests.common.machine import describe_commit, describe_machine
from loadtests.common.paths import ROOT
from loadtests.common.service_process import Application, started

WORD_TIMES = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
OURS = "this service"
CLIPS_PER_ROUND = 7
"""Recordings by which a speaker is further in each round: as many as a minute takes."""

STAGGER_S = 0.7
"""Seconds between the first words of two speakers: people do not begin in step."""


@dataclass(frozen=True)
class Server:
    """What is spoken to.

    Attributes:
        url: its base URL.
        process: it, or the one that all of its processes descend from; None where it is not ours.
        speak: says a stream to it.
    """

    name: str
    url: str
    process: psutil.Process | None
    speak: Callable[[aiohttp.ClientSession, str, Stream], Awaitable[Spoken]]


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
    with _service(options.url, options.model) as server:
        texts = asyncio.run(transcribe_files(server.url, clips.clips))
        rows = _rows(server, clips, texts, options)
    if options.whisperlivekit is not None:
        with whisperlivekit(options.whisperlivekit, resolve(options.model)) as (url, process):
            peer = Server(PEER, url, process, speak_to_peer)
            rows += _rows(peer, clips, texts, options)
    head = (
        f"{describe_machine()}, {describe_commit(ROOT)}; {clips.description}, {options.seconds:g} s per speaker. "
        "Delays in seconds, from the end of a word to its text.\n\n"
        "| server | speakers | words | p50 | p95 | longest | told while spoken | errors against the files' texts | "
        "against what is spoken | files' texts against that | failed | CPU s per s of speech | HTTP requests beside |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    publish(head + "".join(rows), options.output)


def row_of(
    server: str, streams: Sequence[Stream], spoken: Sequence[Spoken], texts: Mapping[str, FileText], *costs: str
) -> str:
    """Return the row of the table for speakers who spoke at the same time; it ends with ``costs``."""
    found = [delay for stream, told in zip(streams, spoken, strict=True) for delay in delays_of(stream, told, texts)]
    from_files = [" ".join(texts[clip.name].text for clip in stream.clips) for stream in streams]
    references = [" ".join(clip.spoken for clip in stream.clips) for stream in streams]
    live = [told.text for told in spoken]
    errors = [code for told in spoken for code in told.errors]
    total = sum(len(list(_said(stream, texts))) for stream in streams)
    columns = (
        server,
        str(len(streams)),
        f"{len(found)} of {total}",
        *(f"{value:.2f}" for value in (np.percentile(found, (50, 95, 100)) if found else (np.nan,) * 3)),
        f"{np.mean([share_before_end(told) for told in spoken]):.0%}" if spoken[0].tells_turns else "-",
        f"{100 * word_error_rate([*zip(from_files, live, strict=True)]):.1f}%",
        f"{100 * word_error_rate([*zip(references, live, strict=True)]):.1f}%",
        f"{100 * word_error_rate([*zip(references, from_files, strict=True)]):.1f}%",
        ", ".join(f"{errors.count(code)} {code}" for code in sorted(set(errors))) or "0",
        *costs,
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


def _rows(server: Server, clips: ClipSet, texts: Mapping[str, FileText], options: argparse.Namespace) -> list[str]:
    """Measure each number of speakers, round after round."""
    rounds = product(options.speakers, range(options.rounds))
    uploads = [make_upload(clip.wav) for clip in clips.clips]
    clients = options.http_clients if server.name == OURS else 0
    beside = [uploads[number:] + uploads[:number] for number in range(clients)]
    return [_measure(server, texts, streams_of(clips.clips, *each, options.seconds), beside) for each in rounds]


def streams_of(clips: Sequence[Clip], speakers: int, round_: int, seconds: float) -> list[Stream]:
    """Return what each of the speakers of a round says: other recordings than the others, and than in other rounds."""
    firsts = (number * len(clips) // speakers + round_ * CLIPS_PER_ROUND for number in range(speakers))
    return [Stream.of(clips, first, seconds) for first in firsts]


def _measure(
    server: Server, texts: Mapping[str, FileText], streams: Sequence[Stream], beside: Sequence[Sequence[Upload]]
) -> str:
    say(f"{server.name}: {len(streams)} speakers")
    before, began = _used_s(server), time.monotonic()
    spoken, answers_s = asyncio.run(_speak_beside(server, streams, beside))
    speech_s = sum(clip.seconds for stream in streams for clip in stream.clips)
    cpu = "-" if server.process is None else f"{(_used_s(server) - before) / speech_s:.2f}"
    return row_of(server.name, streams, spoken, texts, cpu, _http(answers_s, time.monotonic() - began))


def _http(answers_s: Sequence[float], seconds: float) -> str:
    if not answers_s:
        return "-"
    p50, p95 = np.percentile(answers_s, (50, 95))
    return f"{len(answers_s) / seconds:.2f}/s, p50 {p50:.2f}, p95 {p95:.2f}"


def _used_s(server: Server) -> float:
    """Return the CPU seconds that all processes of a server have used so far; 0 where they are not ours."""
    return 0.0 if server.process is None else sum(cpu_s_of(family_of(server.process)).values())


async def _speak_beside(
    server: Server, streams: Sequence[Stream], beside: Sequence[Sequence[Upload]]
) -> tuple[list[Spoken], list[float]]:
    """Let all speak while clients ask over HTTP; return what was told, and the seconds until each answer.

    Args:
        server: for both.
        streams: one per speaker.
        beside: what each client sends, one after the other.

    Raises:
        UnansweredError: a request got no transcript.
    """
    answers_s: list[float] = []

    async def ask(uploads: Sequence[Upload]) -> None:
        for upload in cycle(uploads):
            began = time.monotonic()
            await transcribe(session, server.url, upload)
            answers_s.append(time.monotonic() - began)

    async with aiohttp.ClientSession() as session:
        asking = [asyncio.create_task(ask(uploads)) for uploads in beside]
        spoken = await _speak_all(server, streams)
        for task in asking:
            task.cancel()
        ends = await asyncio.gather(*asking, return_exceptions=True)
    for end in ends:
        if isinstance(end, UnansweredError):
            raise end
    return spoken, answers_s


async def _speak_all(server: Server, streams: Sequence[Stream]) -> list[Spoken]:
    async with aiohttp.ClientSession() as session:

        async def one(number: int, stream: Stream) -> Spoken:
            await asyncio.sleep(STAGGER_S * number)
            return await server.speak(session, server.url, stream)

        return await asyncio.gather(*(one(number, stream) for number, stream in enumerate(streams)))


@contextmanager
def _service(url: str | None, model: str) -> Iterator[Server]:
    """Give the service; its process where it is started here."""
    if url is not None:
        yield Server(OURS, url.rstrip("/"), None, speak)
        return
    with started([Application("amanuensis", "/", model=str(resolve(model)))]) as service:
        yield Server(OURS, service.url, service.process, speak)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path, nargs="?", help="the corpus; else SPEECH_CORPUS names it")
    parser.add_argument("--speakers", type=int, nargs="+", default=[1, 2, 4], help="how many speak at the same time")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each speaks, at least")
    parser.add_argument("--rounds", type=int, default=1, help="of each, with other recordings in each round")
    parser.add_argument("--http-clients", type=int, default=0, help="clients that transcribe files meanwhile")
    parser.add_argument("--files", nargs="+", default=(), metavar="PATTERN", help="recordings of the corpus")
    parser.add_argument("--model", default="base", help="of the service that is started")
    parser.add_argument("--url", help="of a service that runs; else one is started")
    parser.add_argument("--whisperlivekit", type=Path, metavar="PROGRAM", help="also measure this peer's server")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report to this file too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
