"""Spread the graph over two Ray nodes, one of which dies.

``python -m loadtests.load.cluster``: both nodes are on this machine, each with its own raylet, object store, workers
and encoder. ``handoff: auto`` has to find out that arrays must travel through the object store. Then the second node is
killed under load: accepted requests must be answered all the same, because calls that died with the node are made
again, and one encoder is left.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
import requests
import yaml

from deployments.commands.launch.environment import FAST_PATHS, SELF_HEALING
from deployments.shared.resources import ENCODER_RESOURCE
from loadtests.common.client import UnansweredError, Upload, make_upload, transcribe
from loadtests.common.clips import Clip, clips
from loadtests.common.readiness import comes_up
from loadtests.common.service_process import Application, free_port, own_ports

NAME = "amanuensis"
SETTINGS = {"encoder_replicas": 2, "mel_replicas": 2, "decoder_replicas": 2, "failure_log_max_records": 0}
CLIENTS = 8
READY_S = 240.0
STORE_BYTES = 300 * 2**20


@dataclass
class ClientLog:
    """What the clients saw; times in seconds since the load began.

    Attributes:
        expected: clip name -> the text that a single client got.
        began: when the load began, on the monotonic clock.
        answers: (when answered, how long it took).
        retried: attempts that failed, by error; each was made again.
    """

    expected: dict[str, str]
    began: float
    answers: list[tuple[float, float]] = field(default_factory=list)
    retried: Counter[str] = field(default_factory=Counter)
    wrong: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=15.0, help="of load before the kill, and after it")
    options = parser.parse_args()
    os.environ.update({**FAST_PATHS, **SELF_HEALING, **own_ports()})  # read when Ray is imported
    with _service() as (url, cluster, second):
        handoff = requests.get(f"{url}/health", timeout=5).json()["handoff"]
        print(f"two nodes; handoff auto chose: {handoff}")
        print(f"replicas on the second node: {dict(_replicas_of(second))}")
        log, calls = asyncio.run(_load(url, options.seconds, lambda: cluster.remove_node(second, allow_graceful=False)))
        _print(log, calls, options.seconds)
        health = requests.get(f"{url}/health", timeout=5).json()
        print(f"health: {health['status']}, {health['reason']}")


@contextmanager
def _service() -> Iterator[tuple[str, Any, Any]]:
    """Run the service; give its base URL, the cluster, and its second node."""
    import ray  # noqa: PLC0415
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=2, resources={ENCODER_RESOURCE: 1}, object_store_memory=STORE_BYTES)
        second = cluster.add_node(num_cpus=2, resources={ENCODER_RESOURCE: 1}, object_store_memory=STORE_BYTES)
        cluster.wait_for_nodes()
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        config = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": port},
            "applications": [Application(NAME, "/", SETTINGS).as_config()],
        }
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "serve_config.yaml"
            path.write_text(yaml.safe_dump(config), encoding="utf-8")
            serve = str(Path(sys.executable).with_name("serve"))
            subprocess.run([serve, "run", str(path), "--address", cluster.address, "--non-blocking"], check=True)
            if not comes_up(f"{url}/health/ready", READY_S):
                raise RuntimeError("The service did not become ready.")
            yield url, cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()


def _replicas_of(node: Any) -> Counter[str]:
    """Count the replicas whose processes belong to a node, by name."""
    found: Counter[str] = Counter()
    for process_info in itertools.chain.from_iterable(node.all_processes.values()):
        for child in psutil.Process(process_info.process.pid).children(recursive=True):
            command = " ".join(child.cmdline())
            if command.startswith("ray::ServeReplica:"):
                found[command.split(":")[4].split()[0]] += 1
    return found


async def _load(url: str, seconds: float, kill: Any) -> tuple[ClientLog, Counter[str]]:
    uploads = [(clip, make_upload(clip.wav)) for clip in clips()]
    async with aiohttp.ClientSession() as session:
        expected = {clip.name: await transcribe(session, url, upload) for clip, upload in uploads}
        log, following = ClientLog(expected, time.monotonic()), itertools.cycle(uploads)
        load = [asyncio.create_task(_client(session, url, following, 2 * seconds, log)) for _ in range(CLIENTS)]
        await asyncio.sleep(seconds)
        await asyncio.to_thread(kill)
        await asyncio.gather(*load)
        async with session.get(f"{url}/stats/stages") as answer:
            stages = await answer.json()
    return log, Counter({name: stage["total_retries"] for name, stage in stages.items()})


async def _client(
    session: aiohttp.ClientSession, url: str, following: Iterator[tuple[Clip, Upload]], seconds: float, log: ClientLog
) -> None:
    while time.monotonic() - log.began < seconds:
        clip, upload = next(following)
        asked = time.monotonic()
        text = await _until_answered(session, url, upload, log)
        log.answers.append((time.monotonic() - log.began, time.monotonic() - asked))
        log.wrong += text != log.expected[clip.name]


async def _until_answered(session: aiohttp.ClientSession, url: str, upload: Upload, log: ClientLog) -> str:
    while True:
        try:
            return await transcribe(session, url, upload)
        except UnansweredError as error:
            log.retried[str(error)] += 1
            await asyncio.sleep(0.5)


def _print(log: ClientLog, calls: Counter[str], seconds: float) -> None:
    print("\n| | answered/s | p50 ms | p99 ms | longest ms |\n| --- | --- | --- | --- | --- |")
    for name, after in (("two nodes", False), ("from the kill of the second on", True)):
        latencies = [took for at, took in log.answers if (at >= seconds) == after]
        print(f"| {name} | {len(latencies) / seconds:.1f} | {' | '.join(_milliseconds(latencies))} |")
    print(f"\n{len(log.answers)} requests, {log.wrong} wrong transcripts; attempts that failed: {dict(log.retried)}")
    print(f"calls made again inside the service: {dict(calls)}")


def _milliseconds(latencies: Sequence[float]) -> list[str]:
    return [f"{1000 * value:.0f}" for value in (*np.percentile(latencies, (50, 99)), max(latencies))]


if __name__ == "__main__":
    main()
