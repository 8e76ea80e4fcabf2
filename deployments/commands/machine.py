"""What of this machine decides whether the service runs well on it."""

from __future__ import annotations

import errno
import os
import platform
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import psutil
import requests

from deployments.commands.configuration import Configuration
from deployments.shared.cores import usable_cores
from deployments.shared.errors import ConfigurationError
from deployments.shared.memory.slab import SlabLayout
from deployments.shared.model.description import Model, describe
from deployments.shared.model.finding import find
from deployments.shared.settings import Settings

GIB: Final = 2**30
MIN_CORES: Final = 2
MIN_MEMORY: Final = 4 * GIB
CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
SERVE_PORTS: Final = {
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,
}
"""The variables that name the other ports of Ray Serve, and its defaults."""

ASK_TIMEOUT_S: Final = 2.0


class Level(StrEnum):
    """How bad a finding is. A note explains what may go wrong; with a failure the service does not start."""

    OK = "ok"
    NOTE = "NOTE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    level: Level
    text: str


def check_python() -> Finding:
    """Name what runs the service."""
    return Finding(Level.OK, f"Python {platform.python_version()} on {platform.system()} {platform.release()}")


def check_cores() -> Finding:
    """Count the cores that this process may use."""
    cores = usable_cores()
    if cores < MIN_CORES:
        return Finding(Level.NOTE, f"{cores} core: the service is made for {MIN_CORES} or more")
    return Finding(Level.OK, f"{cores} cores")


def check_memory() -> Finding:
    """Measure the memory that this process may use: the machine's, or what its container is limited to."""
    total = min(psutil.virtual_memory().total, _container_limit())
    text = f"{total / GIB:.1f} GiB of memory"
    if total < MIN_MEMORY:
        return Finding(Level.NOTE, f"{text}: with Whisper base the service needs {MIN_MEMORY / GIB:g} GiB")
    return Finding(Level.OK, text)


def check_model(name: str) -> tuple[Finding, Model | None]:
    """Look for a model on this machine and check its files."""
    try:
        path = find(name)
        if path is None:
            return Finding(Level.NOTE, f"model {name} is not here: the service fetches it when it starts"), None
        model = describe(path, Path(name).name)
    except ConfigurationError as error:
        return Finding(Level.FAILED, str(error)), None
    return Finding(Level.OK, f"model {name} in {path}"), model


def check_shared_memory(settings: Settings, model: Model | None) -> Finding:
    """Compare the room for arrays and uploads with what the slots of the service take."""
    directory = settings.shared_memory_dir
    try:
        status = os.statvfs(directory)
    except OSError as error:
        return Finding(Level.FAILED, f"shared_memory_dir {directory} cannot be used: {error.strerror}")
    free = status.f_bavail * status.f_frsize
    text = f"{free / GIB:.1f} GiB free in {directory}"
    if model is None or settings.handoff == "object_store":
        return Finding(Level.OK, text)
    slab = SlabLayout.of(settings.slots, model.dimensions).total_bytes
    text += f", of which {settings.slots} slots take {slab / GIB:.2f}"
    if free < slab:
        return Finding(Level.FAILED, f"{text}: lower AMANUENSIS_SLOTS, or enlarge it (docker: --shm-size)")
    if free < slab + settings.max_upload_bytes:
        return Finding(Level.NOTE, f"{text}: an upload of max_upload_bytes does not fit beside them")
    return Finding(Level.OK, text)


def check_ports(config: Configuration) -> Iterator[Finding]:
    """Try to bind the ports that the service binds."""
    problem = _bind(config.host, config.port)
    if problem == errno.EADDRINUSE and _is_service(config.url):
        yield Finding(Level.NOTE, f"port {config.port}: a service is running there")
        return
    if problem:
        yield Finding(
            Level.FAILED,
            f"port {config.port} of {config.host} cannot be used ({os.strerror(problem)}); "
            f"change http_options in {config.path}",
        )
    else:
        yield Finding(Level.OK, f"port {config.port} is free")
    yield from _check_serve_ports()


def check_settings(config: Configuration) -> tuple[Finding, Sequence[Settings]]:
    """Resolve the settings of every application, with the environment of this process."""
    try:
        settings = config.settings()
    except ConfigurationError as error:
        return Finding(Level.FAILED, str(error)), ()
    return Finding(Level.OK, f"settings in {config.path}"), settings


def _check_serve_ports() -> Iterator[Finding]:
    for variable, default in SERVE_PORTS.items():
        port = int(os.environ.get(variable, default))
        if _bind("127.0.0.1", port):
            yield Finding(Level.NOTE, f"port {port} is taken, which Ray Serve wants; {variable} names another one")


def _bind(host: str, port: int) -> int:
    """Return 0 if a server can bind the port, else the number of the error."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno or errno.EIO
    return 0


def _is_service(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/live", timeout=ASK_TIMEOUT_S).ok
    except requests.RequestException:
        return False


def _container_limit() -> float:
    """Return the memory that the container of this process may use, in bytes; infinity where there is no limit."""
    with suppress(OSError, ValueError):  # no container, or "max"
        return float(CGROUP_LIMIT.read_text(encoding="ascii"))
    return float("inf")
