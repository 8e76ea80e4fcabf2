"""Measure how many requests the service answers, beside its peers and beside another checkout of it.

``amanuensis bench throughput DIR``: human voices of a corpus through Whisper ``base``, by the service pipelined, with
the full audio context and in sequential mode, and by the peers on the same weights. Each has the machine to itself, and
they take turns, round after round, so that whatever else the machine does hits all of them alike. Every turn sends each
clip equally often. Compare the rows of one run, never figures of two runs: that is what ``--against`` is for, which
lets a service of another working tree of this repository take turns with this one.

DIR is what ``amanuensis bench accuracy`` takes; the environment variable ``SPEECH_CORPUS`` may name it. With ``--toy``
the test model of the tree hears the tree's synthetic clips: it costs so little that the graph itself shows, and the
same graph with stages that compute nothing takes turns too.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests

from deployments.shared.model.finding import resolve
from loadtests.benchmarks.parts.clip_sets import read_clips_or_exit, synthetic_clips
from loadtests.benchmarks.parts.measurements import Measurements, measure_load
from loadtests.benchmarks.parts.output import publish, say
from loadtests.benchmarks.parts.peer_runs import Workplace, run_peer, workplace
from loadtests.benchmarks.parts.peers import PEERS
from loadtests.benchmarks.parts.throughput_report import FULL_CONTEXT, NULL, PIPELINED, SEQUENTIAL, write_report
from loadtests.benchmarks.parts.whisper_cpp import server as whisper_cpp
from loadtests.common.checkout import HERE, Checkout, read_checkout
from loadtests.common.clips import Clip
from loadtests.common.closed_loop import run_closed_loop
from loadtests.common.machine import describe_commit, describe_machine
from loadtests.common.paths import DEMO_MODEL, ROOT
from loadtests.common.service_process import Application, Service, started

CLIENTS = 16
WARM_UP_S = 3.0

SERVICES = (PIPELINED, FULL_CONTEXT, SEQUENTIAL)
SERVERS = {"whisper.cpp": "auto", "whisper.cpp-english": "en"}
"""Peers behind HTTP -> the language that they are told. They cannot be given the toy model."""


def main() -> None:
    options = _options()
    sent = synthetic_clips() if options.toy else read_clips_or_exit(options.directory, options.file)
    model = DEMO_MODEL if options.toy else resolve(options.model)
    found: dict[str, Measurements] = defaultdict(Measurements)
    against: dict[str, Measurements] = defaultdict(Measurements)
    if set(SERVERS) & set(options.peers):
        whisper_cpp.build()
    with workplace(model, sent, options.peers) as place:
        for number in range(1, options.rounds + 1):
            for application, checkout in turns(options.against, number, _services(options), str(model)):
                say(f"round {number}: {application.name} of {checkout.directory}")
                measured = (found if checkout is HERE else against)[application.name]
                with started([application], checkout) as service:
                    _measure_service(measured, service, sent.clips, options.seconds)
            for peer in options.peers:
                say(f"round {number}: {peer}")
                if peer in SERVERS:
                    _measure_server(found[peer], model, SERVERS[peer], sent.clips, options.seconds)
                else:
                    _measure_peer(found[peer], peer, place, options.seconds)
    report = write_report(found, against, sent, _conditions(options, model), _setups(found))
    publish(report, options.output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        prog="amanuensis bench throughput",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, nargs="?", help="the corpus")
    parser.add_argument(
        "--file", action="append", default=[], help="only recordings that match; may be repeated; else librispeech/*"
    )
    parser.add_argument("--model", default="base", help="what the service and the peers load")
    parser.add_argument("--toy", action="store_true", help="the test model and synthetic clips of the tree instead")
    parser.add_argument("--rounds", type=int, default=3, help="turns each contender gets")
    parser.add_argument("--seconds", type=float, default=15.0, help="least length of a turn")
    parser.add_argument(
        "--against", type=_checkout, metavar="DIR", help="another working tree, whose service takes turns with this one"
    )
    parser.add_argument("--services", nargs="*", choices=[*SERVICES, NULL], help="services to run; else all")
    parser.add_argument(
        "--peers", nargs="*", choices=[*PEERS, *SERVERS], help="peers to run; none where none is named, else all"
    )
    parser.add_argument("--output", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    if options.peers is None:
        options.peers = [*PEERS] if options.toy else [*PEERS, *SERVERS]
    return options


def _checkout(name: str) -> Checkout:
    try:
        return read_checkout(Path(name))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _services(options: argparse.Namespace) -> Sequence[str]:
    if options.services is not None:
        return list(options.services)
    return (*SERVICES, NULL) if options.toy else SERVICES


def turns(
    against: Checkout | None, number: int, names: Sequence[str], model: str
) -> Iterator[tuple[Application, Checkout]]:
    """Yield what runs in a round: row by row, and of two checkouts each goes first in every other round."""
    checkouts = [HERE] if against is None else [HERE, against]
    if number % 2 == 0:
        checkouts.reverse()
    for name in names:
        yield from ((_application(name, checkout, model), checkout) for checkout in checkouts)


def _application(name: str, checkout: Checkout, model: str) -> Application:
    if name == NULL:
        return Application(NULL, "/", builder=f"{checkout.null_graph}:build", model=model)
    settings: dict[str, dict[str, Any]] = {
        PIPELINED: {},
        FULL_CONTEXT: {"audio_context": "full"},
        SEQUENTIAL: {"enable_pipeline": False},
    }
    return Application(name, "/", settings[name], model=model)


def _conditions(options: argparse.Namespace, model: Path) -> str:
    other = f"; other checkout: {describe_commit(options.against.directory)}" if options.against else ""
    return (
        f"model `{model.name}`, {CLIENTS} clients of the service, {options.rounds} rounds of at least "
        f"{options.seconds:g} s; {describe_machine()}; {describe_commit(ROOT)}{other}"
    )


def _setups(found: dict[str, Measurements]) -> dict[str, str]:
    """Return how each contender ran, in words."""
    http = f"HTTP, {CLIENTS} clients at a time"
    setups = {
        PIPELINED: f"the service with its default settings; {http}",
        FULL_CONTEXT: f"the service with `audio_context: full`; {http}",
        SEQUENTIAL: f"the service with `enable_pipeline: false`; {http}",
        NULL: f"the same graph with stages that compute nothing; {http}",
    }
    peers = {
        **{name: peer.setup for name, peer in PEERS.items() if name in found},
        **{name: f"{whisper_cpp.describe(language)}; HTTP, one client" for name, language in SERVERS.items()},
    }
    return {name: text for name, text in (*setups.items(), *peers.items()) if name in found}


def _measure_service(measured: Measurements, service: Service, clips: Sequence[Clip], seconds: float) -> None:
    run_closed_loop(service.url, clips, clients=CLIENTS, seconds=WARM_UP_S)
    busy_before = _encoder_busy_s(service.url)
    result = measure_load(measured, service.url, service.process, clips, clients=CLIENTS, seconds=seconds)
    measured.encoder_busy.append((_encoder_busy_s(service.url) - busy_before) / result.seconds)


def _measure_server(measured: Measurements, model: Path, language: str, clips: Sequence[Clip], seconds: float) -> None:
    with whisper_cpp.started(model, language) as (url, process):
        # One at a time, as the other peers: it has one mutex, and with 16 clients it does half as much.
        run_closed_loop(url, clips, clients=1, seconds=WARM_UP_S)
        measure_load(measured, url, process, clips, clients=1, seconds=seconds)


def _measure_peer(measured: Measurements, peer: str, place: Workplace, seconds: float) -> None:
    result, run = run_peer(peer, place, seconds=seconds)
    measured.add_load(result, {"process": run.cpu_s}, run.memory_mib)


def _encoder_busy_s(url: str) -> float:
    stage: dict[str, Any] = requests.get(f"{url}/stats/stages", timeout=5).json()["stage2_encoder"]
    return float(stage["busy_time"])


if __name__ == "__main__":
    main()
