"""Finding the processes of one running service, harming them, weighing them."""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from pathlib import Path

import psutil

PROCESSES = {
    "MelPreprocessor": r"ray::ServeReplica:\w+:MelPreprocessor",
    "Encoder": r"ray::ServeReplica:\w+:Encoder",
    "Decoder": r"ray::ServeReplica:\w+:Decoder",
    "Ingress": r"ray::ServeReplica:\w+:Ingress",
    "HAProxy": r"\S*/haproxy -db",
    "HAProxy manager": r"ray::HAProxyManager",
    "Serve proxy": r"ray::ProxyActor",
    "Serve controller": r"ray::ServeController",
}
"""Every kind of process that takes part in serving, by how its command line begins."""

GONE = (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError, ProcessLookupError, PermissionError)


class Family:
    """The launcher and all processes that ever descended from it, orphans too; none of another service.

    Attributes:
        launcher: the process that the user started.
    """

    def __init__(self, launcher: psutil.Process) -> None:
        self.launcher = launcher
        self._known: set[psutil.Process] = set()

    def members(self) -> list[psutil.Process]:
        """Return those that live, oldest first."""
        self._known.add(self.launcher)
        for process in tuple(self._known):
            with suppress(*GONE):
                self._known.update(process.children(recursive=True))
        self._known = {process for process in self._known if _is_alive(process)}
        return sorted(self._known, key=lambda process: float(process.create_time()))

    def of_kind(self, kind: str) -> list[psutil.Process]:
        """Return the living processes of a kind in ``PROCESSES``, oldest first."""
        pattern = re.compile(PROCESSES[kind])
        return [process for process in self.members() if pattern.match(_command(process))]

    def kinds(self) -> dict[str, int]:
        """Count the living processes of each kind."""
        return {kind: len(self.of_kind(kind)) for kind in PROCESSES}

    def memory_bytes(self) -> int:
        """Return the proportional set size of all processes: memory that several share counts once."""
        return sum(_pss(process) for process in self.members())

    def stale_mappings(self, directory: Path) -> int:
        """Count the processes that still map a deleted file of ``directory``: a slab whose ingress is gone."""
        return sum(_maps_deleted(process, directory) for process in self.members())


def kill(process: psutil.Process) -> None:
    """End a process at once, as a crash would."""
    process.send_signal(signal.SIGKILL)


def suspend(process: psutil.Process) -> None:
    """Let a process stand still, as a hang would."""
    process.send_signal(signal.SIGSTOP)


def resume(process: psutil.Process) -> None:
    """Let a suspended process go on, if it was not replaced in the meantime."""
    with suppress(*GONE):
        process.send_signal(signal.SIGCONT)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(*GONE):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _command(process: psutil.Process) -> str:
    with suppress(*GONE):
        return " ".join(process.cmdline())
    return ""


def _pss(process: psutil.Process) -> int:
    with suppress(*GONE):
        return int(process.memory_full_info().pss)
    return 0


def _maps_deleted(process: psutil.Process, directory: Path) -> bool:
    with suppress(*GONE):
        lines = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8").splitlines()
        return any(str(directory) in line and line.endswith("(deleted)") for line in lines)
    return False
