"""Let crowds of patient clients ask, then upload hours.

``python -m loadtests.load.crowd --model base --speech DIR [--clients 16 64 256] [--hours 6]``: clients in closed loops,
each of which sends its next request when it has its answer and, when it is refused, comes back after ``Retry-After``;
every tenth asks with high priority. Then, with ``--hours``, one upload of an hour alone, and as many at once beside
clients with short files; ``--hour-seconds`` shortens the hour. Exit status 1 if a criterion is not met. The page,
``docs/crowd.md``, goes to ``--output``, every visit into the ``.json`` beside it. ``python -m
loadtests.common.random_whisper`` makes a larger model: the service must be slow with it, and not break.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp

from loadtests.common.client import make_upload
from loadtests.common.service_process import Application, started
from loadtests.common.speech import Speech, hour_of
from loadtests.load.calibration import learn, request_s_of
from loadtests.load.crowd import report
from loadtests.load.crowd.clients import Errand, Visit, crowd, run_errand
from loadtests.load.crowd.judgement import judge_results
from loadtests.load.crowd.openings import breaker_openings
from loadtests.load.crowd.results import CrowdResults, Gathering, Hours
from loadtests.load.subject import Subject, add_subject, subject_of

CROWDS = (16, 64, 256)
HOUR_S = 3590.0
"""A little less than the service accepts."""

SHORT_CLIENTS = 2
SECONDS = 60.0
REQUESTS_ALONE = 60
"""A crowd stays at least so many times as long as a request alone takes."""


def main() -> int:
    options = _options()
    subject = subject_of(options)
    if options.url:
        results = asyncio.run(_run(options.url, subject.speech, options))
    else:
        results = _run_own_service(subject, options)
    sys.stdout.write(report.as_markdown(results))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(report.as_markdown(results), encoding="utf-8")
    options.output.with_suffix(".json").write_text(report.as_json(results), encoding="utf-8")
    return 0 if all(verdict.passed for verdict in judge_results(results)) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, nargs="*", default=CROWDS, help="of each crowd, one after the other")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that a crowd keeps asking, at least")
    parser.add_argument("--hours", type=int, default=0, help="uploads of an hour at once; 0: none, not even one alone")
    parser.add_argument("--hour-seconds", type=float, default=HOUR_S, help="how long such an upload is")
    parser.add_argument("--url", help="of a running service; without it the test starts its own")
    parser.add_argument("--output", type=Path, default=Path("results/crowd.md"), help="the page; visits in .json")
    add_subject(parser)
    return parser.parse_args()


def _run_own_service(subject: Subject, options: argparse.Namespace) -> CrowdResults:
    settings = {"failure_log_max_records": 0}
    with started([Application("amanuensis", "/", settings, model=subject.model)]) as service:
        return asyncio.run(_run(service.url, subject.speech, options))


async def _run(url: str, speech: Speech, options: argparse.Namespace) -> CrowdResults:
    texts, alone_s = await learn(url, speech)
    request_s = request_s_of(speech, alone_s)
    errands = [Errand(clip.name, make_upload(clip.wav), texts[clip.name]) for clip in speech.clips]
    seconds = max(options.seconds, REQUESTS_ALONE * request_s)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        openings = await breaker_openings(session, url)
        gatherings = []
        for clients in options.clients:
            visits = await crowd(session, url, errands, clients=clients, seconds=seconds)
            before, openings = openings, await breaker_openings(session, url)
            gatherings.append(Gathering(clients, visits, openings - before))
            sys.stderr.write(f"{clients} clients: {len(visits)} visits\n")
        hours = await _hours(session, url, speech, errands, options) if options.hours else None
    return CrowdResults(request_s, gatherings, hours)


async def _hours(
    session: aiohttp.ClientSession, url: str, speech: Speech, errands: Sequence[Errand], options: argparse.Namespace
) -> Hours:
    content = await asyncio.to_thread(hour_of, speech, options.hour_seconds)
    openings = await breaker_openings(session, url)
    upload = make_upload(content, filename="hour.flac")
    alone = await run_errand(session, url, Errand("hour", upload))
    hour = Errand("hour", upload, alone[-1].reply.text)
    together = asyncio.gather(*(run_errand(session, url, hour) for _ in range(options.hours)))
    beside: list[Visit] = []

    async def short_client(following: Iterator[Errand]) -> None:
        while not together.done():
            beside.extend(await run_errand(session, url, next(following)))

    await asyncio.gather(*(short_client(itertools.cycle(errands)) for _ in range(SHORT_CLIENTS)))
    opened = await breaker_openings(session, url) - openings
    return Hours(options.hour_seconds, alone, await together, beside, opened)


if __name__ == "__main__":
    sys.exit(main())
