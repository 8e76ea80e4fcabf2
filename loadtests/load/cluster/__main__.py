"""Spread the graph over two Ray nodes, one of which dies, and compare what a request costs with one node.

``python -m loadtests.load.cluster --model base --speech DIR``, as root: the nodes are in network namespaces of this
machine. Two services, one on a node of its own and one on two nodes, are loaded in turns. Then the second node's
processes are killed under load, and in a new service its link is cut. The report, ``results/cluster.md`` unless
``--output`` says otherwise, is the page ``docs/cluster.md``. Exit status 1 if a request was lost or a text was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import requests

from loadtests.common.client import Upload, make_upload
from loadtests.common.cpu_time import cpu_s_between
from loadtests.common.machine import describe_machine
from loadtests.load.cluster.clients import Visit, keep_asking, learn
from loadtests.load.cluster.network import Host, NetworkError, hosts
from loadtests.load.cluster.nodes import URL, Running, running
from loadtests.load.cluster.observations import Death, Turn
from loadtests.load.cluster.report import Findings, as_markdown
from loadtests.load.subject import Subject, add_subject, subject_of

CLIENTS = 16


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the namespaces are removed
    try:
        with hosts() as made:
            found = _run(*made, options, subject_of(options))
    except NetworkError as error:
        sys.exit(str(error))
    page = as_markdown(found)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page, encoding="utf-8")
    sys.stdout.write(page)
    return 1 if found.lost or found.wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=3, help="of each service")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a turn, and of the load before a death")
    parser.add_argument("--after", type=float, default=60.0, help="seconds of load after a death")
    parser.add_argument("--output", type=Path, default=Path("results/cluster.md"), help="the report")
    add_subject(parser)
    return parser.parse_args()


def _run(alone: Host, first: Host, second: Host, options: argparse.Namespace, subject: Subject) -> Findings:
    uploads = {clip.name: make_upload(clip.wav) for clip in subject.speech.clips}
    turns: list[Turn] = []
    with running([alone], subject.model) as one, running([first, second], subject.model) as two:
        expected = _learn(one, uploads)
        _learn(two, uploads)  # what is done for the first time costs more
        for _ in range(options.turns):
            turns += [_turn(service, uploads, expected, options.seconds) for service in (one, two)]
        placed = f"the head has {_listed(two.replicas_on(first))}, the other one {_listed(two.replicas_on(second))}"
        killed = _death("all its processes are killed", two, second.end_processes, uploads, expected, options)
    with running([first, second], subject.model) as again:
        _learn(again, uploads)
        cut = _death("its link is cut", again, second.cut_link, uploads, expected, options)
    return Findings(
        command=f"python -m loadtests.load.cluster --model {subject.model} --speech DIR",
        machine=describe_machine(),
        clients=CLIENTS,
        clip_s=subject.speech.mean_clip_s,
        handoffs={len(service.hosts): service.handoff for service in (one, two)},
        placed=placed,
        turns=turns,
        deaths=[killed, cut],
    )


def _learn(service: Running, uploads: Mapping[str, Upload]) -> dict[str, str]:
    service.hosts[0].enter()
    return asyncio.run(learn(URL, uploads))


def _turn(service: Running, uploads: Mapping[str, Upload], expected: Mapping[str, str], seconds: float) -> Turn:
    service.hosts[0].enter()
    before, began = service.cpu_s(), time.monotonic()
    visits = asyncio.run(keep_asking(URL, uploads, expected, clients=CLIENTS, seconds=seconds))
    took_s, used = time.monotonic() - began, cpu_s_between(before, service.cpu_s())
    turn = Turn(len(service.hosts), took_s, visits, used)
    sys.stderr.write(f"{turn.nodes} nodes: {turn.requests_per_s:.1f} requests/s, {turn.cpu_ms:.0f} CPU ms each\n")
    return turn


def _death(
    how: str,
    service: Running,
    strike: Callable[[], None],
    uploads: Mapping[str, Upload],
    expected: Mapping[str, str],
    options: argparse.Namespace,
) -> Death:
    head, second = service.hosts
    head.enter()
    on_it, before = service.replicas_on(second), _repeated()

    async def load() -> tuple[float, list[Visit]]:
        seconds = options.seconds + options.after
        asking = asyncio.create_task(keep_asking(URL, uploads, expected, clients=CLIENTS, seconds=seconds))
        await asyncio.sleep(options.seconds)
        died = time.monotonic()
        await asyncio.to_thread(strike)
        return died, await asking

    began = time.monotonic()
    died, visits = asyncio.run(load())
    health = requests.get(f"{URL}/health", timeout=10).json()
    return Death(
        how=how,
        began=began,
        died=died,
        ended=time.monotonic(),
        visits=visits,
        on_it=on_it,
        replicas=service.replicas_on(head),
        repeated=_repeated() - before,
        health=f"{health['status']}: {health['reason']}",
    )


def _repeated() -> Counter[str]:
    stages = requests.get(f"{URL}/stats/stages", timeout=10).json()
    return Counter({name: stage["total_retries"] for name, stage in stages.items()})


def _listed(replicas: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(replicas.items()))


if __name__ == "__main__":
    sys.exit(main())
