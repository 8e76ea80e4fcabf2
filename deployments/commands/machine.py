"""What of this machine decides whether the service runs well on it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import requests

from deployments.commands.configuration import Configuration
from deployments.commands.errors import CommandError
from deployments.commands.launch.asking import get
from deployments.commands.launch.ports import HTTP_VARIABLE, check, inner_ports, ports_of
from deployments.shared.cores import usable_cores
from deployments.shared.errors import ConfigurationError
from deployments.shared.memory.fitting import with_slots_that_fit
from deployments.shared.memory.slab import SlabLayout
from deployments.shared.model.description import Model, describe
from deployments.shared.model.finding import find
from deployments.shared.settings import Settings
from npu_encoder.doctor.severity import Severity

GIB: Final = 2**30
MIN_CORES: Final = 2
MIN_MEMORY: Final = 4 * GIB
CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    severity: Severity
    text: str


def check_python() -> Finding:
    """Name what runs the service."""
    return Finding(Severity.FINE, f"Python {platform.python_version()} on {platform.system()} {platform.release()}")


def check_cores() -> Finding:
    """Count the cores that this process may use."""
    cores = usable_cores()
    if cores < MIN_CORES:
        return Finding(Severity.NOTE, f"{cores} core: the service is made for {MIN_CORES} or more")
    return Finding(Severity.FINE, f"{cores} cores")


def check_memory() -> Finding:
    """Measure the memory that this process may use: the machine's, or what its container is limited to."""
    total = min(psutil.virtual_memory().total, _container_limit())
    text = f"{total / GIB:.1f} GiB of memory"
    if total < MIN_MEMORY:
        return Finding(Severity.NOTE, f"{text}: with Whisper base the service needs {MIN_MEMORY / GIB:g} GiB")
    return Finding(Severity.FINE, text)


def check_model(name: str) -> tuple[Finding, Model | None]:
    """Look for a model on this machine and check its files."""
    try:
        path = find(name)
        if path is None:
            return Finding(Severity.NOTE, f"model {name} is not here: the service fetches it when it starts"), None
        model = describe(path, Path(name).name)
    except ConfigurationError as error:
        return Finding(Severity.FATAL, str(error)), None
    return Finding(Severity.FINE, f"model {name} in {path}"), model


def check_shared_memory(settings: Settings, model: Model | None) -> Finding:
    """Compare the room for arrays and uploads with what the slots of the service take."""
    directory = settings.shared_memory_dir
    try:
        status = os.statvfs(directory)
    except OSError as error:
        return Finding(Severity.FATAL, f"shared_memory_dir {directory} cannot be used: {error.strerror}")
    free = status.f_bavail * status.f_frsize
    text = f"{free / GIB:.1f} GiB free in {directory}"
    if model is None or settings.handoff == "object_store":
        return Finding(Severity.FINE, text)
    slots = with_slots_that_fit(settings, model.dimensions).slots
    slab = SlabLayout.of(slots, model.dimensions).total_bytes
    text += f", of which {slots} slots take {slab / GIB:.2f}"
    if free < slab:
        return Finding(Severity.FATAL, f"{text}: lower AMANUENSIS_SLOTS, or enlarge it (docker: --shm-size)")
    if free < slab + settings.max_upload_bytes:
        return Finding(Severity.NOTE, f"{text}: an upload of max_upload_bytes does not fit beside them")
    return Finding(Severity.FINE, text)


def check_ports(config: Configuration) -> Iterator[Finding]:
    """Try to bind the ports that the service binds."""
    try:
        ports = tuple(ports_of(config, inner_ports(config.port, os.environ)))
    except CommandError as error:
        yield Finding(Severity.FATAL, str(error))
        return
    for port in ports:
        try:
            check(port)
        except (CommandError, ConfigurationError) as error:
            if port.variable == HTTP_VARIABLE and _is_service(config.url):
                yield Finding(Severity.NOTE, f"port {config.port}: a service is running there")
                return
            yield Finding(Severity.FATAL, str(error))
        else:
            yield Finding(Severity.FINE, f"port {port.number} is free, for {port.purpose}")


def check_settings(config: Configuration) -> tuple[Finding, Sequence[Settings]]:
    """Resolve the settings of every application, with the environment of this process."""
    try:
        settings = config.settings()
    except ConfigurationError as error:
        return Finding(Severity.FATAL, str(error)), ()
    return Finding(Severity.FINE, f"settings in {config.path}"), settings


def _is_service(url: str) -> bool:
    try:
        return get(f"{url}/health/live").ok
    except requests.RequestException:
        return False


def _container_limit() -> float:
    """Return the memory that the container of this process may use, in bytes; infinity where there is no limit."""
    with suppress(OSError, ValueError):  # no container, or "max"
        return float(CGROUP_LIMIT.read_text(encoding="ascii"))
    return float("inf")
