"""Whatever is killed, and in whatever way a service is told to stop, none of its processes stays."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from deployments.commands.launch.keeper import INTERRUPTED, SAME_S
from tests.support.kept_service import LEFT
from tests.support.soon import SOON_S, soon

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Kept:
    """A dummy service under its keeper."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        (directory / "places").mkdir()
        (directory / LEFT).touch()
        self._directory = directory
        command = [sys.executable, "-m", "tests.support.kept_service", str(directory), *arguments]
        self.keeper = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        self.wait_for("ready")
        numbers = [int(path.name) for path in directory.iterdir() if path.name.isdigit()]
        self.serving = psutil.Process(int((directory / "serving").read_text()))
        self.processes = [psutil.Process(self.keeper.pid), self.serving, *map(psutil.Process, numbers)]

    def wait_for(self, name: str) -> None:
        assert soon((self._directory / name).exists)

    @property
    def is_tidy(self) -> bool:
        return not (self._directory / LEFT).exists()

    @property
    def is_draining(self) -> bool:
        return (self._directory / "draining").exists()

    def status(self) -> int:
        return self.keeper.wait(SOON_S)

    def nothing_stays(self) -> bool:
        return soon(lambda: not any(is_alive(process) for process in self.processes))


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


@contextmanager
def kept(directory: Path, *arguments: str) -> Iterator[Kept]:
    service = Kept(directory, *arguments)
    try:
        yield service
    finally:
        for process in service.processes:
            with suppress(psutil.Error):
                process.kill()
        service.keeper.wait()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])
def test_a_signal_lets_it_drain(tmp_path: Path, number: int, send: Callable[[int, int], None]) -> None:
    with kept(tmp_path) as service:
        send(service.keeper.pid, number)
        assert service.status() == 0
        assert service.is_draining
        assert service.is_tidy
        assert service.nothing_stays()


def test_a_signal_that_comes_twice_at_once_is_one(tmp_path: Path) -> None:
    with kept(tmp_path) as service:
        os.killpg(service.keeper.pid, signal.SIGTERM)
        service.wait_for("draining")
        os.kill(service.keeper.pid, signal.SIGTERM)
        assert service.status() == 0


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_second_signal_ends_it_at_once(tmp_path: Path, number: int) -> None:
    with kept(tmp_path, "slow") as service:
        os.kill(service.keeper.pid, number)
        service.wait_for("draining")
        time.sleep(SAME_S + 0.1)
        os.kill(service.keeper.pid, number)
        assert service.status() == INTERRUPTED
        assert service.is_tidy
        assert service.nothing_stays()


def test_before_it_answers_anybody_one_signal_ends_it_at_once(tmp_path: Path) -> None:
    with kept(tmp_path, "never-ready") as service:
        os.kill(service.keeper.pid, signal.SIGINT)
        assert service.status() == INTERRUPTED
        assert not service.is_draining
        assert service.is_tidy
        assert service.nothing_stays()


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])
def test_nothing_outlives_a_keeper_that_is_killed(tmp_path: Path, send: Callable[[int, int], None]) -> None:
    with kept(tmp_path) as service:
        send(service.keeper.pid, signal.SIGKILL)
        assert service.nothing_stays()


def test_nothing_outlives_the_process_that_serves(tmp_path: Path) -> None:
    with kept(tmp_path) as service:
        service.serving.kill()
        assert service.status() == 128 + signal.SIGKILL
        assert service.is_tidy
        assert service.nothing_stays()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_to_the_process_that_serves_is_for_its_keeper(tmp_path: Path, number: int) -> None:
    with kept(tmp_path) as service:
        service.serving.send_signal(number)
        time.sleep(0.2)
        assert is_alive(service.serving)
        assert not service.is_draining
