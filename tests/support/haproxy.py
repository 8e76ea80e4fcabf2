"""HAProxy as Serve's manager starts it: the configuration is Ray's own, manager and raylet are dummies."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from loadtests.common.service_process import free_port

PROGRAM = str(Path(sys.executable).with_name("amanuensis-haproxy"))

MANAGER = """
import subprocess, sys, time
haproxy = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
print(haproxy.pid, flush=True)
haproxy.wait()
time.sleep(1000)
"""
RAYLET = "import json, subprocess, sys\nfor line in sys.stdin: subprocess.Popen(json.loads(line))"


class Node:
    """One node of Ray with HAProxy's files.

    Attributes:
        config: the file that Serve writes.
        port: that clients reach.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        home = directory / "node"
        home.mkdir()
        self.config = home / "haproxy.cfg"
        self._home = home
        self._haproxy = HAProxyConfig(
            socket_path=str(home / "a"),
            server_state_base=str(home),
            server_state_file=str(home / "server-state"),
            metrics_socket_path=str(home / "m"),
            stats_port=free_port(),
            metrics_port=free_port(),
            http_options=HTTPOptions(host="127.0.0.1", port=port),
            is_head=True,
        )

    def write_config(self, *backends: int) -> str:
        """Write the configuration as Serve does, with a replica at each of the ports; return its text."""
        servers = [ServerConfig(name=f"replica-{port}", host="127.0.0.1", port=port) for port in backends]
        applications = {"http-app": BackendConfig(name="http-app", path_prefix="/", servers=servers, app_name="app")}

        async def write() -> None:
            api = HAProxyApi(self._haproxy, applications if servers else {}, str(self.config))
            api._generate_config_file_internal()

        asyncio.run(write())
        return self.config.read_text(encoding="utf-8")


class Raylet:
    """A dummy raylet: managers are its children, as Ray's workers are its raylet's."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RAYLET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._managers: list[psutil.Process] = []

    def start_manager(self, node: Node) -> psutil.Process:
        """Start a manager, and by it HAProxy; return HAProxy's process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        command = [sys.executable, "-c", MANAGER, PROGRAM, "-db", "-f", str(node.config), "-dR"]
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        haproxy = psutil.Process(int(self.process.stdout.readline()))
        self._managers.append(psutil.Process(haproxy.ppid()))
        return haproxy

    def close(self) -> None:
        """End it, and its managers."""
        for manager in self._managers:
            with suppress(psutil.Error):
                manager.kill()
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process.wait()


@contextmanager
def raylet() -> Iterator[Raylet]:
    """A dummy raylet, which ends with the context."""
    dummy = Raylet()
    try:
        yield dummy
    finally:
        dummy.close()


def of_node(node: Node) -> list[psutil.Process]:
    """The processes that belong to a node: HAProxies and their guards."""
    return [process for process in psutil.process_iter(["cmdline"]) if _names(process, str(node.config.parent))]


def _names(process: psutil.Process, directory: str) -> bool:
    command = process.info["cmdline"] or []
    return any(word.startswith(directory) for word in command) and "-c" not in command
