"""Starting a service as a user does, waiting until it is ready, stopping it: for load tests and service tests alike."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from deployments.commands.launch.ports import INNER_PORTS
from loadtests.common.checkout import HERE, Checkout
from loadtests.common.paths import DEMO_MODEL
from loadtests.common.readiness import comes_up

GRAPH = "deployments.app:build"
MODEL_VARIABLE = "WHISPER_MODEL"
READY_S = 600.0
STOPPED_S = 90.0
LEFT_S = 5.0


@dataclass(frozen=True)
class Application:
    """One deployment of the graph: its route, its builder, its settings, and its model as ``WHISPER_MODEL`` has it."""

    name: str
    route: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    builder: str = GRAPH
    model: str = str(DEMO_MODEL)

    def as_config(self) -> dict[str, Any]:
        """Return the application's part of a Serve configuration."""
        arguments = {"whisper_model": self.model, **self.settings}
        return {"name": self.name, "route_prefix": self.route, "import_path": self.builder, "args": arguments}


@dataclass
class Service:
    """One running service.

    Attributes:
        url: its base URL.
        process: the launcher; all other processes descend from it.
        log: the file that holds what they print.
    """

    url: str
    process: psutil.Popen
    log: Path
    _start: Callable[[], psutil.Popen]

    def restart(self) -> psutil.Process:
        """Start the service anew, as a service manager does after its launcher was killed; return the new launcher."""
        self.process.wait()
        self.process = self._start()
        return psutil.Process(self.process.pid)


@contextmanager
def running(applications: Sequence[Application]) -> Iterator[str]:
    """Run a service with these applications and give its base URL once all are ready.

    Raises:
        RuntimeError: it did not start, or did not stop cleanly; with its log.
    """
    with started(applications) as service:
        yield service.url


def write_config(directory: Path, port: int, applications: Sequence[Application], *, host: str = "127.0.0.1") -> Path:
    """Write the file that `amanuensis serve` reads, and return its path."""
    config = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": host, "port": port},
        "applications": [application.as_config() for application in applications],
    }
    path = directory / "serve_config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@contextmanager
def started(
    applications: Sequence[Application], checkout: Checkout = HERE, variables: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """Do as ``running`` does, and give what it takes to watch the service or to do it harm.

    Args:
        checkout: the tree whose code runs.
        variables: of the environment, besides those of this process.
    """
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as directory:
        config_path = write_config(Path(directory), port, applications)
        log_path = Path(directory) / "service.log"
        environment = {**_environment(checkout), **(variables or {})}

        def start() -> psutil.Popen:
            with log_path.open("ab") as log:
                command = [sys.executable, "-m", *checkout.serve, str(config_path)]
                return psutil.Popen(command, cwd=checkout.directory, env=environment, stdout=log, stderr=log)

        service = Service(base_url, start(), log_path, start)
        try:
            for application in applications:
                if not comes_up(f"{base_url}{application.route.rstrip('/')}/health/ready", READY_S, service.process):
                    raise RuntimeError(f"The service did not become ready:\n{log_path.read_text(encoding='utf-8')}")
            yield service
            family = service.process.children(recursive=True)
            service.process.send_signal(signal.SIGINT)
            status = service.process.wait(STOPPED_S)
            _, left = psutil.wait_procs(family, LEFT_S)
            if status or left:
                log_text = log_path.read_text(encoding="utf-8")
                raise RuntimeError(f"The service stopped with status {status} and left {left}:\n{log_text}")
        finally:
            if service.process.poll() is None:
                service.process.kill()


def _environment(checkout: Checkout) -> dict[str, str]:
    """Return ours, with the tree's modules before all others, without the variable that overrides every model."""
    ours = {name: value for name, value in os.environ.items() if name != MODEL_VARIABLE}
    path = os.pathsep.join(filter(None, (str(checkout.directory), ours.get("PYTHONPATH"))))
    return {**ours, "PYTHONPATH": path, **own_ports()}


def own_ports() -> dict[str, str]:
    """Return variables that give Ray and Serve free ports for their other uses: those of a free port may be taken."""
    return {variable: str(free_port()) for variable in INNER_PORTS}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
