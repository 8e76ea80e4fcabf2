"""The service under a load that comes and goes: ``python -m loadtests.load.autoscaling``.

Clients that each send their next request when the last one is answered: few, more, many, few again. Once a second:
replicas, waiting, latency, failures. It shows how soon replicas are added and removed, how often, and that no request
pays for it. On two cores more replicas make nothing faster: the cores are the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil

from loadtests.common import closed_loop
from loadtests.common.clips import Clip, clips
from loadtests.common.service_process import Application, Service, started
from loadtests.load.chaos.processes import Family

NAME = "amanuensis"
DEPLOYMENTS = {"mel": "MelPreprocessor", "decoder": "Decoder"}
SETTINGS = {"slots": 32, "max_mel_replicas": 2, "max_decoder_replicas": 2, "failure_log_max_records": 0}
SAMPLE_S = 0.25
ROW_S = 1.0


@dataclass(frozen=True)
class Phase:
    """So many clients for so long."""

    name: str
    clients: int
    seconds: float


PHASES = (
    Phase("rest", 1, 10),
    Phase("up", 8, 10),
    Phase("hold", 48, 50),
    Phase("down", 1, 60),
)


@dataclass(frozen=True)
class Row:
    """One second: times in milliseconds, of the requests answered in it."""

    at_s: float
    phase: str
    clients: int
    mel_replicas: int
    decoder_replicas: int
    waiting: int
    queue_wait_ms: float
    answered: int
    failed: int
    wrong: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Start:
    """A replica that was added: from the start of its process until it takes calls."""

    deployment: str
    ready_at_s: float
    seconds: float
    cpu_s: float


@dataclass
class Run:
    """Everything seen; times in seconds since the beginning.

    Attributes:
        expected: clip name -> the text that a single client got.
        changes: (time, deployment, running replicas from then on).
        starts: replicas that were added.
        shares: deployment -> CPU seconds of each replica in the second half of the hold.
    """

    expected: dict[str, str]
    phase: Phase = PHASES[0]
    latencies_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wrong: int = 0
    rows: list[Row] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    changes: list[tuple[float, str, int]] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    shares: dict[str, list[float]] = field(default_factory=dict)
    began_s: dict[str, float] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, help="directory for the raw data (CSV) and the plot")
    options = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "token"  # as the service's Ray; read when Ray is imported
    import ray  # noqa: PLC0415

    with started([Application(NAME, "/", SETTINGS)]) as service:
        ray.init(address=_address(service), log_to_driver=False)
        try:
            run = asyncio.run(_run(service))
        finally:
            ray.shutdown()
    print(_report(run))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        _write(run, options.output)


def _address(service: Service) -> str:
    """Of the service's own Ray; others may run on this machine."""
    for process in service.process.children(recursive=True):
        found = re.search(r"--gcs-address=(\S+)", " ".join(process.cmdline()))
        if found:
            return found[1]
    raise RuntimeError("the service's Ray was not found")


async def _run(service: Service) -> Run:
    corpus, family = clips(), Family(service.process)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        run = Run({clip.name: await closed_loop.post(session, service.url, clip.wav) for clip in corpus})
        began = time.monotonic()
        watching = [
            asyncio.create_task(_watch_replicas(family, run, began)),
            asyncio.create_task(_watch_requests(session, service.url, run, began)),
        ]
        following = itertools.cycle(corpus)
        for phase in PHASES:
            run.phase, run.began_s[phase.name] = phase, time.monotonic() - began
            until = time.monotonic() + phase.seconds
            load = [_client(session, service.url, following, until, run) for _ in range(phase.clients)]
            if phase.name == "hold":
                load.append(_measure_shares(family, run, phase.seconds))
            await asyncio.gather(*load)
        for task in watching:
            if task.done():
                task.result()  # it ended by an error
            task.cancel()
    return run


async def _client(session: aiohttp.ClientSession, url: str, following: Iterator[Clip], until: float, run: Run) -> None:
    while time.monotonic() < until:
        clip = next(following)
        began = time.monotonic()
        try:
            text = await closed_loop.post(session, url, clip.wav)
        except (aiohttp.ClientError, RuntimeError) as error:
            run.errors.append(str(error))
            continue
        run.latencies_s.append(time.monotonic() - began)
        run.wrong += text != run.expected[clip.name]


async def _watch_requests(session: aiohttp.ClientSession, url: str, run: Run, began: float) -> None:
    answered = failed = wrong = 0
    waits = (0.0, 0.0)
    for number in itertools.count(1):
        await asyncio.sleep(began + number * ROW_S - time.monotonic())
        async with session.get(f"{url}/stats/pipeline") as answer:
            queue = (await answer.json())["queue"]
        total = (queue["total_dequeued"], queue["total_dequeued"] * queue["avg_wait_time"])
        granted, waited_s = total[0] - waits[0], total[1] - waits[1]
        latencies = run.latencies_s[answered:] or [float("nan")]
        p50, p99 = 1000 * np.percentile(latencies, (50, 99))
        run.rows.append(
            Row(
                at_s=round(time.monotonic() - began, 1),
                phase=run.phase.name,
                clients=run.phase.clients,
                mel_replicas=run.running.get("mel", 0),
                decoder_replicas=run.running.get("decoder", 0),
                waiting=queue["current_size"],
                queue_wait_ms=round(1000 * waited_s / granted, 1) if granted else 0.0,
                answered=len(run.latencies_s) - answered,
                failed=len(run.errors) - failed,
                wrong=run.wrong - wrong,
                p50_ms=round(float(p50), 1),
                p99_ms=round(float(p99), 1),
            )
        )
        answered, failed, wrong, waits = len(run.latencies_s), len(run.errors), run.wrong, total


async def _watch_replicas(family: Family, run: Run, began: float) -> None:
    from ray import serve  # noqa: PLC0415

    while True:
        status = await asyncio.to_thread(serve.status)
        for stage, deployment in DEPLOYMENTS.items():
            states = status.applications[NAME].deployments[deployment].replica_states
            running = int(states.get("RUNNING", 0))
            before = run.running.get(stage)
            if before is not None and running != before:
                at_s = time.monotonic() - began
                run.changes.append((at_s, stage, running))
                if running > before:
                    run.starts.append(_start_of(family, deployment, at_s))
            run.running[stage] = running
        await asyncio.sleep(SAMPLE_S)


def _start_of(family: Family, deployment: str, at_s: float) -> Start:
    newest = family.of_kind(deployment)[-1]
    times = newest.cpu_times()
    return Start(deployment, at_s, time.time() - newest.create_time(), times.user + times.system)


async def _measure_shares(family: Family, run: Run, seconds: float) -> None:
    """How evenly calls are spread: the CPU time of each replica in the second half of the phase."""
    await asyncio.sleep(seconds / 2)
    before = {name: _cpu_s(family.of_kind(name)) for name in DEPLOYMENTS.values()}
    await asyncio.sleep(seconds / 2 - ROW_S)
    for name, earlier in before.items():
        now = _cpu_s(family.of_kind(name))
        run.shares[name] = [used - earlier.get(process, 0.0) for process, used in now.items()]


def _cpu_s(processes: Sequence[psutil.Process]) -> dict[psutil.Process, float]:
    return {process: sum(process.cpu_times()[:2]) for process in processes}


def _report(run: Run) -> str:
    lines = [
        "| phase | clients | seconds | answered/s | p50 ms | p99 ms | queue wait ms | failed | wrong | replicas at the "
        "end (mel, decoder) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for phase in PHASES:
        rows = [row for row in run.rows if row.phase == phase.name]
        lines.append("| " + " | ".join(_summary(phase, rows)) + " |")
    lines += ["", "| s | since the phase began | replicas |", "| --- | --- | --- |"]
    for at_s, stage, running in run.changes:
        lines.append(f"| {at_s:.1f} | {_in_phase(run, at_s)} | {DEPLOYMENTS[stage]}: {running} |")
    lines += [
        "",
        "| replica added | its process began | ready after s | CPU s until then |",
        "| --- | --- | --- | --- |",
    ]
    for item in run.starts:
        began = _in_phase(run, item.ready_at_s - item.seconds)
        lines.append(f"| {item.deployment} | {began} | {item.seconds:.1f} | {item.cpu_s:.1f} |")
    lines += ["", "CPU seconds of each replica in the second half of the hold: " + _shares(run)]
    total, failed = len(run.latencies_s) + len(run.errors), len(run.errors)
    lines += ["", f"**{total} requests, {failed} failed, {run.wrong} wrong transcripts, {len(run.changes)} changes**"]
    lines += sorted(set(run.errors))
    return "\n".join(lines)


def _in_phase(run: Run, at_s: float) -> str:
    """A time, counted from the beginning of its phase."""
    phase, began = [(name, began) for name, began in run.began_s.items() if began <= at_s][-1]
    return f"{phase} + {at_s - began:.1f} s"


def _summary(phase: Phase, rows: Sequence[Row]) -> list[str]:
    def mean(name: str) -> str:
        return f"{np.nanmean([getattr(row, name) for row in rows]):.0f}"

    def total(name: str) -> int:
        return sum(getattr(row, name) for row in rows)

    last = rows[-1]
    return [
        phase.name,
        str(phase.clients),
        f"{phase.seconds:g}",
        f"{total('answered') / phase.seconds:.1f}",
        mean("p50_ms"),
        mean("p99_ms"),
        mean("queue_wait_ms"),
        str(total("failed")),
        str(total("wrong")),
        f"{last.mel_replicas}, {last.decoder_replicas}",
    ]


def _shares(run: Run) -> str:
    return "; ".join(f"{name} {', '.join(f'{used:.1f}' for used in shares)}" for name, shares in run.shares.items())


def _write(run: Run, directory: Path) -> None:
    with (directory / "autoscaling.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [item.name for item in fields(Row)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in run.rows)
    _plot(run, directory / "autoscaling.png")


def _plot(run: Run, path: Path) -> None:
    import matplotlib.pyplot as plt  # noqa: PLC0415  (a second, and only for the plot)

    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(8, 6), layout="constrained")
    curves: tuple[tuple[Any, str, tuple[tuple[str, str], ...]], ...] = (
        (axes[0], "count", (("clients", "clients"), ("answered", "requests/s"))),
        (axes[1], "replicas", (("mel_replicas", "MelPreprocessor"), ("decoder_replicas", "Decoder"))),
        (axes[2], "ms", (("p50_ms", "latency p50"), ("queue_wait_ms", "queue wait"))),
    )
    for axis, label, series in curves:
        for name, legend in series:
            axis.step([row.at_s for row in run.rows], [getattr(row, name) for row in run.rows], label=legend)
        axis.set_ylabel(label)
        axis.legend()
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
