"""Measure how many requests the service answers, beside its peers and beside another checkout of it.

``amanuensis bench throughput``: the service pipelined, with the full audio context, in sequential mode, and with stages
that compute nothing, and the peers. Each has the machine to itself, and they take turns, round after round, so that
whatever else the machine does hits all of them alike. Compare the rows of one run, never figures of two runs: that is
what ``--against DIR`` is for, which lets a service of another working tree of this repository take turns with this one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import requests

from loadtests.benchmarks.parts.measurements import Measurements
from loadtests.benchmarks.parts.peers import PEERS
from loadtests.benchmarks.parts.throughput_report import NULL, PIPELINED, SEQUENTIAL, write_report
from loadtests.benchmarks.parts.whisper_cpp import server as whisper_cpp
from loadtests.common.checkout import HERE, Checkout, read_checkout
from loadtests.common.clips import Clip, clips
from loadtests.common.closed_loop import LoadResult, run_closed_loop
from loadtests.common.cpu_time import cpu_s_between, cpu_s_by_role
from loadtests.common.machine import describe_commit
from loadtests.common.paths import ROOT
from loadtests.common.service_process import Application, Service, started

CLIENTS = 16
WARM_UP_S = 3.0

SERVERS = {"whisper.cpp": 0, "whisper.cpp-trimmed": 512}
"""Peers behind HTTP -> encoder states of every window: those of 30 s (0), or enough for the longest clip."""


def main() -> None:
    options = _options()
    corpus = clips()
    found: dict[str, Measurements] = defaultdict(Measurements)
    against: dict[str, Measurements] = defaultdict(Measurements)
    for number in range(1, options.rounds + 1):
        for application, checkout in turns(options.against, number):
            _say(f"round {number}: {application.name} of {checkout.directory}")
            measured = (found if checkout is HERE else against)[application.name]
            with started([application], checkout) as service:
                _measure_service(measured, service, corpus, options.seconds)
        for peer in options.peers:
            _say(f"round {number}: {peer}")
            if peer in SERVERS:
                _measure_server(found[peer], SERVERS[peer], corpus, options.seconds)
            else:
                _measure_peer(found[peer], peer, corpus, options.seconds)
    report = write_report(found, against, corpus, _conditions(options))
    sys.stdout.write(report)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(report, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="turns each contender gets")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a turn")
    parser.add_argument(
        "--against", type=_checkout, metavar="DIR", help="another working tree, whose service takes turns with this one"
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=[*PEERS, *SERVERS],
        default=[*PEERS, *SERVERS],
        help="peers to run; none where none is named",
    )
    parser.add_argument("--output", type=Path, help="also write the report to this file")
    return parser.parse_args()


def _checkout(name: str) -> Checkout:
    try:
        return read_checkout(Path(name))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def turns(against: Checkout | None, number: int) -> Iterator[tuple[Application, Checkout]]:
    """Yield what runs in a round: row by row, and of two checkouts each goes first in every other round."""
    checkouts = [HERE] if against is None else [HERE, against]
    if number % 2 == 0:
        checkouts.reverse()
    for row in zip(*map(_applications, checkouts), strict=True):
        yield from zip(row, checkouts, strict=True)


def _applications(checkout: Checkout) -> list[Application]:
    return [
        Application(PIPELINED, "/"),
        Application("full-context", "/", {"audio_context": "full"}),
        Application(SEQUENTIAL, "/", {"enable_pipeline": False}),
        Application(NULL, "/", builder=f"{checkout.null_graph}:build"),
    ]


def _conditions(options: argparse.Namespace) -> str:
    other = f"; other checkout: {describe_commit(options.against.directory)}" if options.against else ""
    return f"{CLIENTS} clients, {options.rounds} rounds of {options.seconds:g} s; {describe_commit(ROOT)}{other}"


def _measure_service(measured: Measurements, service: Service, corpus: Sequence[Clip], seconds: float) -> None:
    run_closed_loop(service.url, corpus, clients=CLIENTS, seconds=WARM_UP_S)
    busy_before = _encoder_busy_s(service.url)
    result = _measure_load(measured, service.url, service.process, corpus, clients=CLIENTS, seconds=seconds)
    measured.encoder_busy.append((_encoder_busy_s(service.url) - busy_before) / result.seconds)


def _measure_server(measured: Measurements, audio_context: int, corpus: Sequence[Clip], seconds: float) -> None:
    with whisper_cpp.started(audio_context) as (url, process):
        # One at a time, as the other peers: it has one mutex, and with 16 clients it does half as much.
        run_closed_loop(url, corpus, clients=1, seconds=WARM_UP_S)
        _measure_load(measured, url, process, corpus, clients=1, seconds=seconds)


def _measure_load(
    measured: Measurements, url: str, process: psutil.Process, corpus: Sequence[Clip], *, clients: int, seconds: float
) -> LoadResult:
    before = cpu_s_by_role(process)
    result = run_closed_loop(url, corpus, clients=clients, seconds=seconds)
    measured.add_load(result, cpu_s_between(before, cpu_s_by_role(process)))
    return result


def _encoder_busy_s(url: str) -> float:
    stage: dict[str, Any] = requests.get(f"{url}/stats/stages", timeout=5).json()["stage2_encoder"]
    return float(stage["busy_time"])


def _measure_peer(measured: Measurements, peer: str, corpus: Sequence[Clip], seconds: float) -> None:
    command = [sys.executable, "-m", "loadtests.benchmarks.parts.peers", peer, str(seconds)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    mean_s = statistics.mean(clip.seconds for clip in corpus)
    measured.add_sequence(**json.loads(output.splitlines()[-1]), mean_s=mean_s)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
