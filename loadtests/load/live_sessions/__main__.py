"""Open many live sessions and end them in every way, at random moments, while others ask over HTTP.

``python -m loadtests.load.live_sessions [--sessions 200] [--seed N] [--model base --speech DIR]``: a service is
started; a client asks for the text of a recording again and again, first alone, then while the sessions come and go.
Exit status 1 if a session left anything behind in the service, or an HTTP request was not answered.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import numpy as np
import psutil

from loadtests.benchmarks.parts.output import publish
from loadtests.common.client import Upload, make_upload, transcribe
from loadtests.common.cpu_time import of_role
from loadtests.common.machine import describe_commit, describe_machine
from loadtests.common.paths import ROOT
from loadtests.common.service_process import Application, started
from loadtests.common.wav import pcm_of_wav
from loadtests.load.live_sessions.ways import LONGEST_S, WAYS, Way, end, waits_for_its_text
from loadtests.load.subject import add_subject, subject_of

AT_ONCE: Final = 24
"""Sessions that are open at the same time, at most."""

HTTP_EVERY_S: Final = 0.5
ALONE_S: Final = 30.0
SETTLED_S: Final = 60.0
LOOK_S: Final = 0.5
GAUGES: Final = {"sessions": r"^amanuensis_live_sessions (\S+)$", "slots": r"^amanuensis_slots_in_use (\S+)$"}


@dataclass(frozen=True)
class Resources:
    """What the ingress holds.

    Attributes:
        gauges: its own count of sessions and of slots in use.
        files: open files and sockets of its process.
        threads: of its process.
    """

    gauges: Mapping[str, int]
    files: int
    threads: int


@dataclass(frozen=True)
class Target:
    """A running service, and what it is given.

    Attributes:
        url: its base URL.
        ingress: the process that holds the sessions.
        upload: what is asked over HTTP.
        recordings: what is said in sessions, 16 kHz mono int16.
    """

    url: str
    ingress: psutil.Process
    upload: Upload
    recordings: Sequence[bytes]


@dataclass(frozen=True)
class Outcome:
    """What a run found.

    Attributes:
        ways: how many sessions ended in which way.
        alone_s: seconds until each HTTP answer, without any session.
        beside_s: the same while sessions came and went.
        left: what the sessions left in the service; nothing, if all is well.
    """

    ways: Mapping[str, int]
    alone_s: Sequence[float]
    beside_s: Sequence[float]
    left: Sequence[str]


async def run(target: Target, sessions: int, alone_s: float, rng: random.Random) -> Outcome:
    """Open and end ``sessions``, each in a random way; each way has its turn.

    Args:
        target: the service.
        sessions: how many, in all.
        alone_s: how long HTTP requests are measured before the first of them, in seconds.
        rng: chooses ways, recordings and moments.
    """
    async with aiohttp.ClientSession() as client:
        await transcribe(client, target.url, target.upload)
        await end(target.url, waits_for_its_text, target.recordings[0], rng)  # loads what the first session loads
        before = await _resources(client, target)
        alone = await _ask_until(client, target, asyncio.create_task(asyncio.sleep(alone_s)))
        plan = [WAYS[number % len(WAYS)] for number in range(sessions)]
        rng.shuffle(plan)
        crowd = asyncio.create_task(_crowd(target, plan, rng))
        beside = await _ask_until(client, target, crowd)
        left = await _left(client, target, before)
    return Outcome(Counter(way.__name__ for way in plan), alone, beside, left)


async def _crowd(target: Target, plan: Sequence[Way], rng: random.Random) -> None:
    """Take every session of a plan through its life."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(way: Way) -> None:
        async with room:
            await end(target.url, way, rng.choice(target.recordings), rng)

    await asyncio.gather(*map(one, plan))


async def _ask_until(client: aiohttp.ClientSession, target: Target, done: asyncio.Task[None]) -> list[float]:
    """Ask over HTTP again and again until something is done; return the seconds until each answer."""
    seconds = []
    while not done.done():
        began = time.monotonic()
        await transcribe(client, target.url, target.upload)
        seconds.append(time.monotonic() - began)
        await asyncio.wait([done], timeout=max(0.0, began + HTTP_EVERY_S - time.monotonic()))
    await done
    return seconds


async def _left(client: aiohttp.ClientSession, target: Target, before: Resources) -> list[str]:
    """Return what is there that was not there before, after it had time to go."""
    left: list[str] = []
    for _ in range(round(SETTLED_S / LOOK_S)):
        left = _more(before, await _resources(client, target))
        if not left:
            break
        await asyncio.sleep(LOOK_S)
    return left


def _more(before: Resources, after: Resources) -> list[str]:
    pairs = {
        **{f"gauge of {name}": (before.gauges[name], after.gauges[name]) for name in GAUGES},
        "open files and sockets": (before.files, after.files),
        "threads": (before.threads, after.threads),
    }
    return [f"{name}: {then} before, {now} after" for name, (then, now) in pairs.items() if now > then]


async def _resources(client: aiohttp.ClientSession, target: Target) -> Resources:
    async with client.get(f"{target.url}/metrics") as answer:
        metrics = await answer.text()
    gauges = {name: int(float(re.findall(pattern, metrics, re.MULTILINE)[0])) for name, pattern in GAUGES.items()}
    return Resources(gauges, target.ingress.num_fds(), target.ingress.num_threads())


def report(outcome: Outcome) -> str:
    """Return what a run found, in Markdown."""
    ways = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(outcome.ways.items()))
    rows = [
        f"| {name} | {len(seconds)} | {np.percentile(seconds, 50):.2f} | {np.percentile(seconds, 95):.2f} | "
        f"{max(seconds):.2f} |"
        for name, seconds in (("alone", outcome.alone_s), ("beside the sessions", outcome.beside_s))
    ]
    lines = [
        f"{sum(outcome.ways.values())} sessions: {ways}. Left behind: {'; '.join(outcome.left) or 'nothing'}.",
        "",
        "| HTTP requests | answered | p50 s | p95 s | longest s |",
        "| --- | --- | --- | --- | --- |",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    options = _options()
    subject = subject_of(options)
    clips = subject.speech.clips
    recordings = [pcm_of_wav(clip.wav) for clip in clips if clip.seconds <= LONGEST_S]
    rng = random.Random(options.seed)  # noqa: S311  (no secret)
    with started([Application("amanuensis", "/", model=subject.model)]) as service:
        (ingress,) = of_role(service.process, "Ingress")
        upload = make_upload(min(clips, key=lambda clip: clip.seconds).wav)
        target = Target(service.url, ingress, upload, recordings)
        outcome = asyncio.run(run(target, options.sessions, ALONE_S, rng))
    head = f"{describe_machine()}, {describe_commit(ROOT)}; {' '.join(subject.arguments)}, seed {options.seed}.\n\n"
    publish(head + report(outcome), options.output)
    return 1 if outcome.left else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=200, help="how many come and go")
    parser.add_argument("--seed", type=int, default=0, help="of ways, recordings and moments")
    parser.add_argument("--output", type=Path, help="write the report to this file too")
    add_subject(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
