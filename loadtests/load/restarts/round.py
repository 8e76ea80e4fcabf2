"""One life of a service: it starts, answers, ends in one way, and is searched for what it left."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from deployments.commands.errors import CommandError
from deployments.commands.launch.addresses import LOOPBACK
from deployments.commands.launch.ports import Port, check, inner_ports
from deployments.commands.launch.runtime_directory import RUNNING_SERVICE, runtime_base
from loadtests.common.client import Upload, send
from loadtests.common.readiness import comes_up
from loadtests.common.replies import Reply
from loadtests.common.service_process import Application, free_port, write_config
from loadtests.load.processes import GONE, Family
from loadtests.load.restarts.ways import Subject, Way, open_terminal

READY_S = 300.0
ENDED_S = 90.0
GONE_S = 10.0
LOOK_S = 0.25
PAUSE_S = 0.1


@dataclass(frozen=True)
class Asked:
    """One request of a client."""

    began: float
    reply: Reply


@dataclass
class Life:
    """What was seen.

    Attributes:
        ready_s: seconds until the service was ready; None if it was ended before.
        ended_s: seconds from the end's beginning until the launcher and all other processes were gone.
        status: the launcher's exit status.
        requests, lost: how many were sent before the end began, and how many of them got no answer although they
            should have.
        left: whatever the service left behind.
        log: the last lines that it printed.
    """

    way: str
    ready_s: float | None = None
    ended_s: float = 0.0
    status: int | None = None
    requests: int = 0
    lost: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    log: str = ""


class Load:
    """Clients that send one request after the other, from a thread of their own."""

    def __init__(self, url: str, uploads: Sequence[Upload], clients: int) -> None:
        self.asked: list[Asked] = []
        self._url = url
        self._following = itertools.cycle(uploads)
        self._clients = clients
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._client(session) for _ in range(self._clients)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self._ends.is_set():
            began = time.monotonic()
            self.asked.append(Asked(began, await send(session, self._url, next(self._following), patience_s=ENDED_S)))
            await asyncio.sleep(PAUSE_S)


def live(way: Way, model: str, uploads: Sequence[Upload], moment_s: float, clients: int) -> Life:
    """Start a service, end it in a way, and search for what it left.

    Args:
        moment_s: how long it is left alone before: ready and under load, or while it starts.
    """
    life, port = Life(way.name), free_port()
    before = _running_services()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory, tempfile.TemporaryDirectory() as directory:
        application = Application("amanuensis", "/", {"shared_memory_dir": memory}, model=model)
        config = write_config(Path(directory), port, [application])
        with _started(config, Path(directory) / "log") as subject, _followed(subject.family):
            began = time.monotonic()
            url = f"http://127.0.0.1:{port}"
            if way.starting:
                time.sleep(moment_s)
                _end(life, way, subject)
            elif comes_up(f"{url}/health/ready", READY_S):
                life.ready_s = time.monotonic() - began
                _wait_for_welcome(Path(directory) / "log")
                with Load(url, uploads, clients) as load:
                    time.sleep(moment_s)
                    ends = time.monotonic()
                    _end(life, way, subject)
                _account(life, way, [each for each in load.asked if each.began < ends])
            else:
                life.left.append("it did not become ready")
        life.left += [f"{path} in shared memory" for path in Path(memory).iterdir()]
        life.log = (Path(directory) / "log").read_text(encoding="utf-8", errors="replace")[-2000:]
    life.left += [f"{path} of a running service" for path in _running_services() - before]
    life.left += [f"port {number}" for number in (port, *inner_ports(port, os.environ).values()) if _is_taken(number)]
    return life


def _running_services() -> set[Path]:
    return set(runtime_base().glob(RUNNING_SERVICE.prefix + "*"))


@contextmanager
def _started(config: Path, log: Path) -> Iterator[Subject]:
    """Start a service in a terminal, whose output goes to a file."""
    person, program = open_terminal()
    command = [sys.executable, "-m", "deployments.commands.main", "serve", str(config)]

    def own_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with log.open("wb") as output:
        launcher = psutil.Popen(
            command,
            stdin=program,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=own_terminal,
        )
    os.close(program)
    family = Family(psutil.Process(launcher.pid))
    try:
        yield Subject(launcher, person, family)
    finally:
        for process in family.members():  # never left to the next round; they are counted already
            try:
                process.kill()
            except GONE:
                continue
        with suppress(OSError):
            os.close(person)


@contextmanager
def _followed(family: Family) -> Iterator[None]:
    """See every process of a family while the context lasts, those too that soon end or lose their parents."""
    ends = threading.Event()

    def follow() -> None:
        while not ends.wait(LOOK_S):
            family.members()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def _wait_for_welcome(log: Path) -> None:
    """Wait until the launcher, too, knows that the service is ready."""
    until = time.monotonic() + ENDED_S
    while "\nready: " not in log.read_text(encoding="utf-8", errors="replace") and time.monotonic() < until:
        time.sleep(LOOK_S)


def _end(life: Life, way: Way, subject: Subject) -> None:
    subject.family.members()
    began = time.monotonic()
    way.do(subject)
    try:
        life.status = subject.launcher.wait(ENDED_S)
    except psutil.TimeoutExpired:
        life.left.append("the launcher did not end")
    until = time.monotonic() + GONE_S
    while (left := subject.family.members()) and time.monotonic() < until:
        time.sleep(PAUSE_S)
    life.ended_s = time.monotonic() - began
    life.left += [f"process {process.pid} ({' '.join(process.cmdline())[:80]})" for process in left]
    if life.status != way.status:
        life.left.append(f"status {life.status} instead of {way.status}")


def _account(life: Life, way: Way, asked: Sequence[Asked]) -> None:
    life.requests = len(asked)
    if way.answers:
        lost = [each.reply for each in asked if each.reply.outcome not in {"right", "refused"}]
        life.lost = [f"{reply.status} {reply.code}" for reply in lost if reply.code != "draining"]


def _is_taken(port: int) -> bool:
    try:
        check(Port(port, LOOPBACK, "", ""))
    except CommandError:
        return True
    return False
