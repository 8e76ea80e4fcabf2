"""Records one scenario: starts what it needs, watches, waits until the service is at rest, judges."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from loadtests import closed_loop
from loadtests.clips import clips
from loadtests.scenarios.figures import judge
from loadtests.scenarios.plan import Edition, Scenario
from loadtests.scenarios.recording import (
    MANIFEST,
    REST,
    SAMPLES,
    SCENARIO,
    VERDICTS,
    Verdict,
    read_recording,
    write_json,
)
from loadtests.scenarios.sampling import Sampler, wait_until_settled
from loadtests.service_process import Application, started

ROOT = Path(__file__).parents[2]
CLIENTS = 16
WARM_UP_S = 2.0
CAPACITY_S = 6.0
GIB = 2**30


def record_own_service(scenario: Scenario, directory: Path) -> list[Verdict]:
    """As ``record``, on a service that is started for it and stopped afterwards. Its log is kept too."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = {**scenario.settings, "failure_log_dir": str((directory / "failures").absolute())}
    with started([Application("amanuensis", "/", settings)]) as service:
        try:
            return record(scenario, service.url, directory, service.process)
        finally:
            shutil.copyfile(service.log, directory / "service.log")


def record(scenario: Scenario, url: str, directory: Path, service: psutil.Process | None = None) -> list[Verdict]:
    """Offers the scenario's load to a running service and writes the raw results.

    Args:
        service: its launcher; without it there is nothing on memory and CPU.

    Raises:
        subprocess.CalledProcessError: the generator failed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    closed_loop.run(url, clips(), clients=CLIENTS, seconds=WARM_UP_S)
    write_json(directory / SCENARIO, scenario.at(_capacity(url)) if scenario.times_capacity else scenario)
    command = [sys.executable, "-m", "loadtests.scenarios.generator", url, str(directory)]
    with subprocess.Popen(command, cwd=ROOT) as generator:
        others = {"load generator": psutil.Process(generator.pid), "sampler": psutil.Process()}
        sampler = Sampler(url, directory / SAMPLES, service, others)
        sampler.start()
        status = generator.wait()
        sampler.stop()
    if status:
        raise subprocess.CalledProcessError(status, command)
    write_json(directory / REST, wait_until_settled(url))
    verdicts = judge(read_recording(directory))
    write_json(directory / VERDICTS, verdicts)
    return verdicts


def write_manifest(directory: Path, edition: Edition) -> None:
    """What the results of this run are results of. A run made in pieces keeps the first one's."""
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / MANIFEST).exists():
        return
    manifest: dict[str, Any] = {
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "edition": edition,
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed_files": len(_git("status", "--porcelain").splitlines()),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("ray", "ctranslate2", "openvino", "locust")},
    }
    write_json(directory / MANIFEST, manifest)


def _capacity(url: str) -> float:
    return closed_loop.run(url, clips(), clients=CLIENTS, seconds=CAPACITY_S).requests_per_s


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
