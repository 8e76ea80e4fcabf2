"""Hosts on this machine: network namespaces, two of them with a link between them, and none with one to anywhere else.

A namespace has addresses, ports and a routing table of its own, so what runs in it reaches another host over TCP
alone, as on a machine of its own. Cores, memory and files are shared.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

LINK = "lan0"
NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000
ENDED_S = 10.0
LOOK_S = 0.1


class NetworkError(RuntimeError):
    """The namespaces cannot be made, and why."""


@dataclass(frozen=True)
class Host:
    """One network namespace.

    Attributes:
        name: of the namespace.
        address: the one that other hosts reach.
    """

    name: str
    address: str

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs a command on this host."""
        return ["ip", "netns", "exec", self.name, *command]

    def processes(self) -> list[psutil.Process]:
        """Return the processes on this host, without the one that asks."""
        found = []
        for number in _ip("netns", "pids", self.name).split():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(number)))
        return [process for process in found if process.pid != os.getpid()]

    def end_processes(self) -> None:
        """End all processes on this host at once, as a power cut would, those too that are started meanwhile.

        Raises:
            NetworkError: some do not end.
        """
        until = time.monotonic() + ENDED_S
        while processes := self.processes():
            if time.monotonic() > until:
                raise NetworkError(f"Processes of {self.name} do not end: {processes}")
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            time.sleep(LOOK_S)

    def cut_link(self) -> None:
        """Let nothing in and out any more; no connection is closed."""
        _ip("-n", self.name, "link", "set", LINK, "down")

    def mend_link(self) -> None:
        """Undo ``cut_link``."""
        _ip("-n", self.name, "link", "set", LINK, "up")

    def enter(self) -> None:
        """Let this thread, and all that it starts from now on, be on this host.

        Raises:
            NetworkError: the rights for it are missing.
        """
        libc = ctypes.CDLL(None, use_errno=True)  # Python has `os.setns` from 3.12 on
        with (NAMESPACES / self.name).open("rb") as namespace:
            if libc.setns(namespace.fileno(), CLONE_NEWNET):
                raise NetworkError(f"{self.name} cannot be entered: {os.strerror(ctypes.get_errno())}")


@contextmanager
def hosts() -> Iterator[tuple[Host, Host, Host]]:
    """Make a host without a link, and two with a link between them; in the end nothing is left, processes included.

    Raises:
        NetworkError: rights or the program ``ip`` are missing, or an earlier run left its hosts.
    """
    _check_rights()
    alone, first, second = (Host(f"amanuensis-host{number}", f"10.77.0.{number + 1}") for number in range(3))
    made: list[Host] = []
    try:
        for host in (alone, first, second):
            _ip("netns", "add", host.name)
            made.append(host)
            _ip("-n", host.name, "link", "set", "lo", "up")
        # Made inside the namespaces: the machine's own network sees nothing of it.
        _ip("-n", first.name, "link", "add", LINK, "type", "veth", "peer", "name", LINK, "netns", second.name)
        _ip("-n", alone.name, "address", "add", f"{alone.address}/32", "dev", "lo")
        for host in (first, second):
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", LINK)
            host.mend_link()
        yield alone, first, second
    finally:
        for host in made:
            host.end_processes()
            _ip("netns", "delete", host.name)


def _check_rights() -> None:
    if shutil.which("ip") is None:
        raise NetworkError("There is no program `ip`: install iproute2")
    if os.geteuid() != 0:
        raise NetworkError("Network namespaces are made by root only: run this as root, for example in a container")


def _ip(*arguments: str) -> str:
    """Run ``ip`` and return what it prints.

    Raises:
        NetworkError: it failed.
    """
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        hint = "; an earlier run left it: `ip netns delete` removes it" if "File exists" in done.stderr else ""
        raise NetworkError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}{hint}")
    return done.stdout
