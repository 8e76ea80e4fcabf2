"""A Ray node on each host, and the service on them, started by hand as docs/scaling.md says."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from deployments.commands.launch.environment import command, service_environment
from deployments.commands.launch.ports import inner_ports
from deployments.shared.resources import ENCODER_RESOURCE
from loadtests.common.cpu_time import REPLICA, cpu_s_of
from loadtests.common.paths import ROOT
from loadtests.common.readiness import comes_up
from loadtests.common.service_process import MODEL_VARIABLE, Application, write_config
from loadtests.load.cluster.network import Host

HTTP_HOST, HTTP_PORT, GCS_PORT = "127.0.0.1", 9000, 6379
URL = f"http://{HTTP_HOST}:{HTTP_PORT}"
SETTINGS = {"encoder_replicas": 2, "mel_replicas": 2, "decoder_replicas": 2, "failure_log_max_records": 0}
CORES = 2
STORE_BYTES = 300 * 2**20
READY_S = 240.0
SHARED_MEMORY = "/dev/shm"  # noqa: S108  (the service's own default)


@dataclass(frozen=True)
class Running:
    """The service on its hosts, the head first.

    Attributes:
        handoff: how its arrays travel, as it says itself.
    """

    hosts: tuple[Host, ...]
    handoff: str

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds that all processes on the hosts have used so far, by role."""
        return cpu_s_of(process for host in self.hosts for process in host.processes())

    def replicas_on(self, host: Host) -> Counter[str]:
        """Count the replicas on a host, by deployment."""
        lines = (" ".join(process.cmdline()) for process in host.processes())
        return Counter(found[1] for line in lines if (found := REPLICA.match(line)))


@contextmanager
def running(hosts: Sequence[Host], model: str) -> Iterator[Running]:
    """Run the service with an encoder's device on each host, or with both on the only one.

    This process is on the first host then, which is the head: nothing but the head itself reaches the service.

    Raises:
        RuntimeError: it did not become ready; with its log.
    """
    with (
        tempfile.TemporaryDirectory(dir=SHARED_MEMORY, prefix="cluster-") as memory,
        tempfile.TemporaryDirectory(prefix="cluster-") as home,
    ):
        directory, log = Path(home), Path(home) / "log"
        environment = _environment(directory)
        application = Application("amanuensis", "/", {**SETTINGS, "shared_memory_dir": memory}, model=model)
        config = write_config(directory, HTTP_PORT, [application], host=HTTP_HOST)
        hosts[0].enter()
        try:
            for host in hosts:
                _start_node(host, hosts[0], len(hosts), directory, environment)
            with log.open("wb") as output:
                serve = [command("serve"), "run", str(config), "--address", f"{hosts[0].address}:{GCS_PORT}"]
                launcher = subprocess.Popen(serve, cwd=ROOT, env=environment, stdout=output, stderr=output)
            if not comes_up(f"{URL}/health/ready", READY_S, launcher):
                raise RuntimeError(f"The service did not become ready:\n{log.read_text(encoding='utf-8')}")
            yield Running(tuple(hosts), requests.get(f"{URL}/health", timeout=5).json()["handoff"])
        finally:
            for host in hosts:
                host.end_processes()


def _environment(directory: Path) -> dict[str, str]:
    """Return ours with what ``amanuensis serve`` would set, and a token that both nodes know."""
    ours = {name: value for name, value in os.environ.items() if name != MODEL_VARIABLE}
    serves = service_environment(HTTP_HOST, inner_ports(HTTP_PORT, {}), directory)
    path = os.pathsep.join(filter(None, (str(ROOT), ours.get("PYTHONPATH"))))
    return {**ours, **serves, "PYTHONPATH": path, "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _start_node(host: Host, head: Host, nodes: int, directory: Path, environment: Mapping[str, str]) -> None:
    place = ["--head", f"--port={GCS_PORT}"] if host == head else [f"--address={head.address}:{GCS_PORT}"]
    options = [
        f"--node-ip-address={host.address}",
        f"--resources={json.dumps({ENCODER_RESOURCE: SETTINGS['encoder_replicas'] // nodes})}",
        f"--num-cpus={CORES}",
        f"--object-store-memory={STORE_BYTES}",
        f"--temp-dir={directory / host.address}",
    ]
    start = host.inside([command("ray"), "start", *place, *options])
    done = subprocess.run(start, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"The Ray node on {host.name} did not start:\n{done.stdout}{done.stderr}")
