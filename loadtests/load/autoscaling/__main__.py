"""Load a service that may add replicas with clients that come and go.

``python -m loadtests.load.autoscaling``: clients that each send their next request when the last one is answered: few,
more, many, few again. Once a second: replicas, waiting, latency, failures. It shows how soon replicas are added and
removed, how often, and that no request pays for it. On two cores more replicas make nothing faster: the cores are the
limit.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from loadtests.common.client import UnansweredError, Upload, make_upload, transcribe
from loadtests.common.clips import Clip, clips
from loadtests.common.service_process import Application, Service, started
from loadtests.load.autoscaling.observations import LEVELS, Observations
from loadtests.load.autoscaling.report import as_markdown, write_table_and_plot
from loadtests.load.autoscaling.watch import NAME, measure_shares, watch_replicas, watch_requests
from loadtests.load.processes import Family

SETTINGS = {"slots": 32, "max_mel_replicas": 2, "max_decoder_replicas": 2, "failure_log_max_records": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, help="directory for the raw data (CSV) and the plot")
    options = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "token"  # as the service's Ray; read when Ray is imported
    import ray  # noqa: PLC0415

    with started([Application(NAME, "/", SETTINGS)]) as service:
        ray.init(address=_address(service), log_to_driver=False)
        try:
            seen = asyncio.run(_run(service))
        finally:
            ray.shutdown()
    print(as_markdown(seen))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        write_table_and_plot(seen, options.output)


def _address(service: Service) -> str:
    """Return the address of the service's own Ray; others may run on this machine."""
    for process in service.process.children(recursive=True):
        found = re.search(r"--gcs-address=(\S+)", " ".join(process.cmdline()))
        if found:
            return found[1]
    raise RuntimeError("The service's Ray was not found.")


async def _run(service: Service) -> Observations:
    uploads = [(clip, make_upload(clip.wav)) for clip in clips()]
    family = Family(service.process)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        seen = Observations({clip.name: await transcribe(session, service.url, upload) for clip, upload in uploads})
        began = time.monotonic()
        watching = [
            asyncio.create_task(watch_replicas(family, seen, began)),
            asyncio.create_task(watch_requests(session, service.url, seen, began)),
        ]
        following = itertools.cycle(uploads)
        for level in LEVELS:
            seen.level, seen.began_s[level.name] = level, time.monotonic() - began
            until = time.monotonic() + level.seconds
            load = [_client(session, service.url, following, until, seen) for _ in range(level.clients)]
            if level.name == "hold":
                load.append(measure_shares(family, seen, level.seconds))
            await asyncio.gather(*load)
        for task in watching:
            if task.done():
                task.result()  # it ended by an error
            task.cancel()
    return seen


async def _client(
    session: aiohttp.ClientSession,
    url: str,
    following: Iterator[tuple[Clip, Upload]],
    until: float,
    seen: Observations,
) -> None:
    while time.monotonic() < until:
        clip, upload = next(following)
        began = time.monotonic()
        try:
            text = await transcribe(session, url, upload)
        except UnansweredError as error:
            seen.errors.append(str(error))
            continue
        seen.latencies_s.append(time.monotonic() - began)
        seen.wrong += text != seen.expected[clip.name]


if __name__ == "__main__":
    main()
