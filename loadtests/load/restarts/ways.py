"""The ways in which a service comes to its end."""

from __future__ import annotations

import os
import pty
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from loadtests.load.processes import GONE, Family

AGAIN_S = 1.0


@dataclass(frozen=True)
class Subject:
    """A service that was started.

    Attributes:
        launcher: the process that the user started, the first of its group and session.
        terminal: the other end of its terminal.
    """

    launcher: psutil.Popen
    terminal: int
    family: Family

    def of_name(self, name: str) -> psutil.Process:
        """Return the oldest process that the kernel knows by this name.

        Raises:
            LookupError: there is none.
        """
        for process in self.family.members():
            try:
                if process.name() == name:
                    return process
            except GONE:
                continue
        raise LookupError(f"there is no {name}")


@dataclass(frozen=True)
class Way:
    """One way.

    Attributes:
        do: what is done.
        status: what the launcher ends with.
        answers: whether requests that were accepted must be answered.
        starting: whether it is done while the service starts; a service that is ready otherwise.
    """

    name: str
    do: Callable[[Subject], None]
    status: int
    answers: bool = False
    starting: bool = False


def open_terminal() -> tuple[int, int]:
    """Return both ends of a new terminal: that of the person, and that of programs."""
    return pty.openpty()


def _signal(number: int, times: int = 1) -> Callable[[Subject], None]:
    def do(subject: Subject) -> None:
        for time_no in range(times):
            time.sleep(AGAIN_S if time_no else 0)
            subject.launcher.send_signal(number)

    return do


def _signal_group(number: int) -> Callable[[Subject], None]:
    return lambda subject: os.killpg(subject.launcher.pid, number)


def _close_terminal(subject: Subject) -> None:
    os.close(subject.terminal)


def _kill_serving(subject: Subject) -> None:
    subject.launcher.children()[0].kill()


def _kill_raylet(subject: Subject) -> None:
    subject.of_name("raylet").kill()


INTERRUPTED, KILLED, FAILED = 130, -signal.SIGKILL, 1

WAYS = (
    Way("SIGTERM", _signal(signal.SIGTERM), 0, answers=True),
    Way("SIGINT", _signal(signal.SIGINT), 0, answers=True),
    Way("SIGHUP", _signal(signal.SIGHUP), 0, answers=True),
    Way("SIGTERM to the group", _signal_group(signal.SIGTERM), 0, answers=True),
    Way("SIGINT to the group", _signal_group(signal.SIGINT), 0, answers=True),
    Way("the terminal is closed", _close_terminal, 0, answers=True),
    Way("SIGTERM twice", _signal(signal.SIGTERM, 2), INTERRUPTED),
    Way("SIGINT twice", _signal(signal.SIGINT, 2), INTERRUPTED),
    Way("SIGKILL", _signal(signal.SIGKILL), KILLED),
    Way("SIGKILL to the group", _signal_group(signal.SIGKILL), KILLED),
    Way("SIGKILL to the process that serves", _kill_serving, 128 + signal.SIGKILL),
    Way("SIGKILL to the raylet", _kill_raylet, FAILED),
    Way("SIGTERM while it starts", _signal(signal.SIGTERM), INTERRUPTED, starting=True),
    Way("SIGINT while it starts", _signal(signal.SIGINT), INTERRUPTED, starting=True),
    Way("SIGKILL while it starts", _signal(signal.SIGKILL), KILLED, starting=True),
)
