"""Taking a snapshot once a second: the service's metrics, and what its processes take of memory and CPU."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import psutil
import requests

from loadtests.common.cpu_time import cpu_s, family_of, role_of
from loadtests.load.scenarios.recording import SAMPLER, Rest, Snapshot

PERIOD_S = 1.0
TIMEOUT_S = 5.0
SETTLE_S = 20.0
MIB = 2**20
OTHER = "launcher"
SERIES = (
    "amanuensis_queue_size",
    "amanuensis_queue_wait_seconds_",
    "amanuensis_slots",
    "amanuensis_slot_waits_total",
    "amanuensis_pending_responses",
    "amanuensis_stage_busy_seconds_total",
    "amanuensis_stage_batches_total",
    "amanuensis_stage_run_seconds_count",
)
"""The series of ``/metrics`` that are kept, by how their names begin."""


class Sampler(threading.Thread):
    """A thread that writes a line per second to a file until it is stopped.

    Args:
        service: the service's launcher; None where its processes are out of reach.
        others: role -> a process that is no part of the service but shares its machine.
    """

    def __init__(self, url: str, path: Path, service: psutil.Process | None, others: dict[str, psutil.Process]) -> None:
        super().__init__(name=SAMPLER, daemon=True)
        self._url, self._path = url, path
        self._service, self._others = service, others
        self._stopped = threading.Event()

    def run(self) -> None:
        due = time.monotonic()
        with self._path.open("w", encoding="utf-8") as file:
            while not self._stopped.wait(max(0.0, due - time.monotonic())):
                # A service too busy to show its metrics leaves a gap: an overload may do that.
                with suppress(requests.RequestException):
                    file.write(json.dumps(dataclasses.asdict(self._take())) + "\n")
                    file.flush()
                due = max(due + PERIOD_S, time.monotonic())

    def stop(self) -> None:
        """End the thread, and wait for that."""
        self._stopped.set()
        self.join()

    def _take(self) -> Snapshot:
        at, metrics = time.time(), read_metrics(self._url)
        memory, cpu = _by_role(self._service)
        for role, process in self._others.items():
            with suppress(psutil.NoSuchProcess):  # the load generator may end before the sampler does
                cpu[role] = cpu_s(process)
        return Snapshot(at, metrics, memory, cpu)


def read_metrics(url: str) -> dict[str, float]:
    """Return the kept series, with their labels, and their values.

    Raises:
        requests.RequestException: the service did not show them.
    """
    answer = requests.get(f"{url}/metrics", timeout=TIMEOUT_S)
    answer.raise_for_status()
    lines = (line.rsplit(" ", 1) for line in answer.text.splitlines() if line.startswith(SERIES))
    return {name: float(value) for name, value in lines if "_created" not in name}


def wait_until_settled(url: str) -> Rest:
    """Wait until nothing is left in the service; return what is left if that takes too long."""
    began = time.monotonic()
    while True:
        rest = _rest(url, time.monotonic() - began)
        if rest.settled_s > SETTLE_S or (rest.healthy and not (rest.queue or rest.slots or rest.pending)):
            return rest
        time.sleep(0.1)


def _rest(url: str, seconds: float) -> Rest:
    stats = requests.get(f"{url}/stats/pipeline", timeout=TIMEOUT_S).json()
    healthy = requests.get(f"{url}/health", timeout=TIMEOUT_S).ok
    pending = stats["pipeline"]["pending_responses"]
    return Rest(stats["queue"]["current_size"], stats["buffers"]["in_use"], pending, healthy, seconds)


def _by_role(service: psutil.Process | None) -> tuple[dict[str, float], dict[str, float]]:
    """Return memory in MiB and CPU seconds of the service's processes."""
    memory: defaultdict[str, float] = defaultdict(float)
    cpu: defaultdict[str, float] = defaultdict(float)
    for process in family_of(service) if service else ():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            role = role_of(" ".join(process.cmdline())) or OTHER
            memory[role] += process.memory_full_info().pss / MIB
            cpu[role] += cpu_s(process)
    return dict(memory), dict(cpu)
