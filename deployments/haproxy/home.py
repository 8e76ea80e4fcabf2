"""The files of one HAProxy manager, in a directory of its own, and what is known from them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

STOPPING = "stopping"
"""File beside the directories of all managers: the service ends, so HAProxy is not started again."""

EVENTS = "haproxy-events.log"
"""File beside them, in which guards say what happened."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be taken for another one that has its number later.

    Attributes:
        started: when, in clock ticks since the machine started.
    """

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process with this number; None if it has ended."""
        status = _status(pid)
        return None if status is None or status[0] in {"Z", "X"} else cls(pid, int(status[19]))

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return Process.of(self.pid) == self

    @property
    def parent(self) -> int:
        """The number of its parent; 0 if it has ended."""
        status = _status(self.pid)
        return 0 if status is None else int(status[1])


@dataclass(frozen=True, slots=True)
class Running:
    """The HAProxy that has the ports.

    Attributes:
        socket: its control socket.
    """

    process: Process
    socket: Path


class Home:
    """The directory of one manager.

    Attributes:
        config: what Serve writes.
        last: the latest configuration that leads to an application.
        error_page: what HAProxy sends when it reaches no replica.
    """

    def __init__(self, config: Path) -> None:
        self.config = config
        self.last = config.with_name("last.cfg")
        self.interim = config.with_name("interim.cfg")
        self.error_page = config.with_name("503.http")
        self._running = config.with_name("running.json")
        self._service = config.parent.parent

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Home | None:
        """Return the directory that HAProxy's arguments name; None if they name no configuration."""
        if "-f" not in arguments[:-1]:
            return None
        return cls(Path(arguments[arguments.index("-f") + 1]))

    @property
    def interim_socket(self) -> Path:
        """The control socket of a HAProxy that no manager started: managers must not take it for their own."""
        return self.config.with_name("i")

    @property
    def is_stopping(self) -> bool:
        """Whether the service said that it ends."""
        return (self._service / STOPPING).exists()

    def running(self) -> Running | None:
        """Return the HAProxy that has the ports; None if there is none."""
        try:
            document = json.loads(self._running.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        found = Running(Process(**document["process"]), Path(document["socket"]))
        return found if found.process.lives else None

    def set_running(self, running: Running) -> None:
        """Note which HAProxy has the ports from now on."""
        document = {"process": asdict(running.process), "socket": str(running.socket)}
        self.write(self._running, json.dumps(document))

    def write(self, path: Path, text: str) -> None:
        """Replace a file as a whole."""
        new = path.with_name(f"{path.name}.{os.getpid()}")
        new.write_text(text, encoding="utf-8")
        new.replace(path)

    def tell(self, event: str) -> None:
        """Say what happened, for the operator; nobody misses it where the service is just being removed."""
        with suppress(OSError), (self._service / EVENTS).open("a", encoding="utf-8") as file:
            file.write(f"{event}\n")


def _status(pid: int) -> list[str] | None:
    """Return the fields of a process' status from its state on (proc(5)); None if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
