"""Measure long recordings, and short requests beside an hour, through the service and its peers.

``amanuensis bench long DIR``: recordings of minutes (``longform/*`` of the corpus), one after the other, and an hour
that is joined from the corpus, through the service and through peers on the same weights. Then two clients send short
clips to the service, one at a time each: alone, and while it transcribes the hour. DIR is what ``amanuensis bench
accuracy`` takes; the environment variable ``SPEECH_CORPUS`` may name it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import aiohttp

from deployments.shared.model.finding import resolve
from loadtests.benchmarks.accuracy.corpus import CorpusFile, find_corpus
from loadtests.benchmarks.parts.clip_sets import ClipSet, read_clips
from loadtests.benchmarks.parts.long_files import LongFiles, write_long_files
from loadtests.benchmarks.parts.long_report import ALONE, BESIDE, SERVICE, SHORT, LongRun, write_report
from loadtests.benchmarks.parts.measurements import Measurements
from loadtests.benchmarks.parts.output import publish, say
from loadtests.benchmarks.parts.peer_runs import Workplace, run_peer, workplace
from loadtests.benchmarks.parts.peers import PEERS
from loadtests.benchmarks.parts.throughput_report import MAIN_PEER
from loadtests.common.client import Upload, make_upload, transcribe
from loadtests.common.clips import Clip
from loadtests.common.closed_loop import LoadResult, keep_sending, run_closed_loop
from loadtests.common.cpu_time import cpu_s_between, cpu_s_by_role
from loadtests.common.machine import describe_commit, describe_machine
from loadtests.common.memory import resident_mib
from loadtests.common.paths import ROOT
from loadtests.common.service_process import Application, Service, started

CLIENTS = 2
PATIENCE_S = 7200.0
WARM_UP_S = 3.0
WARM_UP = 3


def main() -> None:
    options = _options()
    corpus, model = find_corpus(options.directory), resolve(options.model)
    with TemporaryDirectory() as directory:
        try:
            short = read_clips(corpus, options.short)
            files = write_long_files(corpus, Path(directory), options.hour_seconds)
        except ValueError as error:
            raise SystemExit(str(error)) from error
        with workplace(model, short, options.peers) as place:
            found = _measure(options, files, short, place)
    report = write_report(LongRun(found, files, short, _conditions(options, model)))
    publish(report, options.output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="amanuensis bench long", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, nargs="?", help="the corpus")
    parser.add_argument("--model", default="base", help="what the service and the peers load")
    parser.add_argument("--hour-seconds", type=float, default=3600.0, help="length of the hour")
    parser.add_argument(
        "--short", action="append", default=[], help="short recordings to send; may be repeated; else librispeech/*"
    )
    parser.add_argument("--rounds", type=int, default=1, help="turns each contender gets")
    parser.add_argument(
        "--peers", nargs="*", choices=[*PEERS], default=[MAIN_PEER], help=f"peers to run; {MAIN_PEER} if not given"
    )
    parser.add_argument("--output", type=Path, help="also write the report to this file")
    return parser.parse_args()


def _conditions(options: argparse.Namespace, model: Path) -> str:
    rounds = f"{options.rounds} round{'s' * (options.rounds > 1)}"
    return f"model `{model.name}`, {rounds}; {describe_machine()}; {describe_commit(ROOT)}"


def _measure(
    options: argparse.Namespace, files: LongFiles, short: ClipSet, place: Workplace
) -> dict[tuple[str, str], Measurements]:
    """Return (contender, what it was sent) -> what it did."""
    found: dict[tuple[str, str], Measurements] = defaultdict(Measurements)
    for number in range(1, options.rounds + 1):
        say(f"round {number}: the service")
        with started([Application("long", "/", model=str(place.model))]) as service:
            run_closed_loop(service.url, short.clips, clients=CLIENTS, seconds=WARM_UP_S)
            for group, recordings in files.groups():
                _measure_service(found[SERVICE, group], service, recordings)
            alone = run_closed_loop(service.url, short.clips, clients=CLIENTS, seconds=0, whole_passes=True)
            found[SHORT, ALONE].add_load(alone, {}, resident_mib(service.process))
            hour, beside = asyncio.run(_send_beside(service.url, files.hour, short.clips))
            found[SHORT, BESIDE].add_load(beside, {}, resident_mib(service.process))
            found[SERVICE, BESIDE].add_load(hour, {}, resident_mib(service.process))
        for peer in options.peers:
            for group, recordings in files.groups():
                say(f"round {number}: {peer}, {group}")
                warm_up = [*place.files][:WARM_UP]
                result, run = run_peer(peer, replace(place, files=recordings), warm_up=warm_up)
                found[peer, group].add_load(result, {"process": run.cpu_s}, run.memory_mib)
    return found


def _measure_service(measured: Measurements, service: Service, recordings: Mapping[str, CorpusFile]) -> None:
    before = cpu_s_by_role(service.process)
    result = asyncio.run(_send_each(service.url, recordings))
    used = cpu_s_between(before, cpu_s_by_role(service.process))
    measured.add_load(result, used, resident_mib(service.process))


async def _send_each(url: str, recordings: Mapping[str, CorpusFile]) -> LoadResult:
    """Send files, each when the last one is answered."""
    result, uploads = LoadResult(), {path: _upload(path) for path in recordings}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_S)) as session:
        for path, recording in recordings.items():
            began = perf_counter()
            text = await transcribe(session, url, uploads[path])
            seconds = perf_counter() - began
            result.add(recording.file, recording.seconds, seconds, text)
            result.seconds += seconds
    return result


async def _send_beside(
    url: str, hour: Mapping[str, CorpusFile], clips: Sequence[Clip]
) -> tuple[LoadResult, LoadResult]:
    """Send the hour, and short clips until it is answered; return what became of both."""
    result, uploads = LoadResult(), [(clip, make_upload(clip.wav)) for clip in clips]
    began = perf_counter()
    async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession() as session:
        sending = tasks.create_task(_send_each(url, hour))
        queue = itertools.takewhile(lambda _: not sending.done(), itertools.cycle(uploads))
        await asyncio.gather(*(keep_sending(session, url, queue, result) for _ in range(CLIENTS)))
        result.seconds = perf_counter() - began
    return sending.result(), result


def _upload(path: str) -> Upload:
    return make_upload(Path(path).read_bytes(), filename=Path(path).name)


if __name__ == "__main__":
    main()
