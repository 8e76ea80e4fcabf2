"""Starts the service as a user does, waits until it is ready, stops it. For load tests and service tests alike."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests
import yaml

ROOT = Path(__file__).parents[1]
GRAPH = "deployments.app:build"
READY_S = 300.0
STOPPED_S = 90.0
LEFT_S = 5.0


@dataclass(frozen=True)
class Application:
    """One deployment of the graph: its route, its builder, its settings."""

    name: str
    route: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    builder: str = GRAPH

    def as_config(self) -> dict[str, Any]:
        arguments = {"whisper_model": str(ROOT / "models" / "demo-en"), **self.settings}
        return {"name": self.name, "route_prefix": self.route, "import_path": self.builder, "args": arguments}


@dataclass(frozen=True)
class Service:
    """One running service.

    Attributes:
        url: its base URL.
        process: the launcher; all other processes descend from it.
        log: what they print.
    """

    url: str
    process: psutil.Process
    log: Path


@contextmanager
def running(applications: Sequence[Application]) -> Iterator[str]:
    """The base URL of a service with these applications, all ready.

    Raises:
        RuntimeError: it did not start, or did not stop cleanly; with its log.
    """
    with started(applications) as service:
        yield service.url


@contextmanager
def started(applications: Sequence[Application]) -> Iterator[Service]:
    """As ``running``, with what it takes to watch the service or to do it harm."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    config = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [application.as_config() for application in applications],
    }
    with tempfile.TemporaryDirectory() as directory:
        config_path, log_path = Path(directory) / "serve_config.yaml", Path(directory) / "service.log"
        config_path.write_text(yaml.safe_dump(config), encoding="utf-8")
        with log_path.open("wb") as log:
            command = [sys.executable, "-m", "deployments.launch", str(config_path)]
            process = subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=log, stderr=log)
        try:
            for application in applications:
                _wait_until_ready(base_url + application.route.rstrip("/"), process, log_path)
            service = Service(base_url, psutil.Process(process.pid), log_path)
            yield service
            family = service.process.children(recursive=True)
            process.send_signal(signal.SIGINT)
            status = process.wait(STOPPED_S)
            _, left = psutil.wait_procs(family, LEFT_S)
            if status or left:
                log_text = log_path.read_text(encoding="utf-8")
                raise RuntimeError(f"the service stopped with status {status} and left {left}:\n{log_text}")
        finally:
            if process.poll() is None:
                process.kill()


def _environment() -> dict[str, str]:
    """Of the launcher: HAProxy's own ports are free ones too, so that another service may run beside this one."""
    ports = {f"RAY_SERVE_HAPROXY_{purpose}_PORT": str(free_port()) for purpose in ("METRICS", "STATS")}
    return {**os.environ, **ports}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        if _is_ready(url):
            return
        time.sleep(0.25)
    raise RuntimeError(f"the service did not become ready:\n{log.read_text(encoding='utf-8')}")


def _is_ready(url: str) -> bool:
    try:
        return bool(requests.get(f"{url}/health/ready", timeout=2).ok)
    except requests.RequestException:
        return False
