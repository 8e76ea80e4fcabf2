"""More than the service can do: ``python -m loadtests.overload``.

Requests arrive at a fixed rate, whether or not earlier ones are answered, each on a connection of its own, as from
clients that know nothing of each other: at half the capacity, then at up to ten times as much. What is accepted
must be answered in time, what is not must hear so at once, and memory must not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp
import numpy as np

from loadtests import closed_loop
from loadtests.clips import clips
from loadtests.service_process import Application, Service, started

OK = 200
CLIENTS = 16
MEBIBYTE = 2**20
PRIORITIES = ("high", "normal", "normal", "low")
FACTORS = (0.5, 2.0, 4.0, 10.0)


@dataclass
class Outcome:
    """What became of the requests of one phase: latencies in seconds, by priority, and refusals."""

    answered_s: dict[str, list[float]] = field(default_factory=dict)
    refused_s: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a phase")
    parser.add_argument("--deadline", type=float, default=2.0, help="seconds, of every request")
    options = parser.parse_args()
    with started([Application("amanuensis", "/", {"failure_log_max_records": 0})]) as service:
        closed_loop.run(service.url, clips(), clients=CLIENTS, seconds=3)
        capacity = closed_loop.run(service.url, clips(), clients=CLIENTS, seconds=10).requests_per_s
        print(f"capacity {capacity:.0f} requests/s (closed loop, {CLIENTS} clients), deadline {options.deadline:g} s\n")
        print(
            "| offered | priority | answered/s | p50 ms | p99 ms | refused/s | refused in p50 / p99 ms | memory MiB |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for factor in FACTORS:
            outcome = asyncio.run(offer(service.url, factor * capacity, options.seconds, options.deadline))
            _print(f"{factor:g}x", outcome, options.seconds, _memory(service))
            time.sleep(options.deadline)


async def offer(url: str, rate: float, seconds: float, deadline_s: float) -> Outcome:
    outcome, bodies = Outcome(), [clip.wav for clip in clips()]
    count = int(rate * seconds)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        began, tasks = time.perf_counter(), []
        for number in range(count):
            await asyncio.sleep(began + number / rate - time.perf_counter())
            priority, body = PRIORITIES[number % len(PRIORITIES)], bodies[number % len(bodies)]
            tasks.append(asyncio.create_task(_ask(session, url, body, priority, deadline_s, outcome)))
        await asyncio.gather(*tasks)
    return outcome


async def _ask(
    session: aiohttp.ClientSession, url: str, body: bytes, priority: str, deadline_s: float, outcome: Outcome
) -> None:
    form = aiohttp.FormData()
    form.add_field("file", body, filename="clip.wav", content_type="audio/wav")
    headers = {"x-priority": priority, "x-timeout-seconds": str(deadline_s)}
    began = time.perf_counter()
    try:
        async with session.post(f"{url}/v1/audio/transcriptions", data=form, headers=headers) as answer:
            document = await answer.json()
    except aiohttp.ClientError as error:
        outcome.codes[type(error).__name__] += 1
        return
    took_s = time.perf_counter() - began
    if answer.status == OK:
        outcome.answered_s.setdefault(priority, []).append(took_s)
        return
    outcome.codes[document["error"]["code"]] += 1
    outcome.refused_s.append(took_s)
    outcome.without_retry_after += "retry-after" not in answer.headers


def _print(offered: str, outcome: Outcome, seconds: float, memory: float) -> None:
    for priority in ("high", "normal", "low"):
        latencies = outcome.answered_s.get(priority, [])
        row = (offered, priority, f"{len(latencies) / seconds:.1f}", *_percentiles(latencies), "", "", "")
        print("| " + " | ".join(row) + " |")
    refused = " / ".join(_percentiles(outcome.refused_s))
    print(f"| {offered} | all | | | | {len(outcome.refused_s) / seconds:.1f} | {refused} | {memory:.0f} |")
    print(f"\n{offered}: not answered: {dict(outcome.codes)}; without Retry-After: {outcome.without_retry_after}\n")


def _percentiles(latencies_s: Sequence[float]) -> tuple[str, str]:
    if not latencies_s:
        return "-", "-"
    p50, p99 = np.percentile(latencies_s, (50, 99))
    return f"{1000 * p50:.0f}", f"{1000 * p99:.0f}"


def _memory(service: Service) -> float:
    """Of all processes of the service, proportional shares, in MiB."""
    family = [service.process, *service.process.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in family) / MEBIBYTE


if __name__ == "__main__":
    main()
