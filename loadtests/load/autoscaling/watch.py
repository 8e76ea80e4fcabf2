"""Watching requests and replicas while clients come and go."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence

import aiohttp
import numpy as np
import psutil

from loadtests.common.cpu_time import cpu_s
from loadtests.load.autoscaling.observations import DEPLOYMENTS, Observations, ReplicaStart, Row
from loadtests.load.processes import Family

NAME = "amanuensis"
SAMPLE_S = 0.25
ROW_S = 1.0


async def watch_requests(session: aiohttp.ClientSession, url: str, seen: Observations, began: float) -> None:
    """Add a row per second, until this is cancelled."""
    answered = failed = wrong = 0
    waits = (0.0, 0.0)
    for number in itertools.count(1):
        await asyncio.sleep(began + number * ROW_S - time.monotonic())
        async with session.get(f"{url}/stats/pipeline") as answer:
            queue = (await answer.json())["queue"]
        total = (queue["total_dequeued"], queue["total_dequeued"] * queue["avg_wait_time"])
        granted, waited_s = total[0] - waits[0], total[1] - waits[1]
        latencies = seen.latencies_s[answered:] or [float("nan")]
        p50, p99 = 1000 * np.percentile(latencies, (50, 99))
        seen.rows.append(
            Row(
                at_s=round(time.monotonic() - began, 1),
                phase=seen.level.name,
                clients=seen.level.clients,
                mel_replicas=seen.running.get("mel", 0),
                decoder_replicas=seen.running.get("decoder", 0),
                waiting=queue["current_size"],
                queue_wait_ms=round(1000 * waited_s / granted, 1) if granted else 0.0,
                answered=len(seen.latencies_s) - answered,
                failed=len(seen.errors) - failed,
                wrong=seen.wrong - wrong,
                p50_ms=round(float(p50), 1),
                p99_ms=round(float(p99), 1),
            )
        )
        answered, failed, wrong, waits = len(seen.latencies_s), len(seen.errors), seen.wrong, total


async def watch_replicas(family: Family, seen: Observations, began: float) -> None:
    """Note every change of the number of replicas, until this is cancelled."""
    from ray import serve  # noqa: PLC0415

    while True:
        status = await asyncio.to_thread(serve.status)
        for stage, deployment in DEPLOYMENTS.items():
            states = status.applications[NAME].deployments[deployment].replica_states
            running = int(states.get("RUNNING", 0))
            before = seen.running.get(stage)
            if before is not None and running != before:
                at_s = time.monotonic() - began
                seen.changes.append((at_s, stage, running))
                if running > before:
                    seen.starts.append(_start_of(family, deployment, at_s))
            seen.running[stage] = running
        await asyncio.sleep(SAMPLE_S)


def _start_of(family: Family, deployment: str, at_s: float) -> ReplicaStart:
    newest = family.of_kind(deployment)[-1]
    return ReplicaStart(deployment, at_s, time.time() - newest.create_time(), cpu_s(newest))


async def measure_shares(family: Family, seen: Observations, seconds: float) -> None:
    """Note how evenly calls are spread: the CPU time of each replica in the second half of a level of ``seconds``."""
    await asyncio.sleep(seconds / 2)
    before = {name: _cpu_s_of_each(family.of_kind(name)) for name in DEPLOYMENTS.values()}
    await asyncio.sleep(seconds / 2 - ROW_S)
    for name, earlier in before.items():
        now = _cpu_s_of_each(family.of_kind(name))
        seen.shares[name] = [used - earlier.get(process, 0.0) for process, used in now.items()]


def _cpu_s_of_each(processes: Sequence[psutil.Process]) -> dict[psutil.Process, float]:
    return {process: cpu_s(process) for process in processes}
