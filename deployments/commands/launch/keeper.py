"""Two processes that end each other's service: whichever is killed, the other one leaves nothing behind.

The process that the user started is the keeper: signals come to it, and it passes them on as an order. Its child
serves, in a session of its own, so that a signal to the terminal's or the service manager's whole group reaches the
keeper alone, and Ray's processes not at all. Both adopt orphans, so every process of the service descends from the one
that is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from deployments.commands.launch.family import adopt_orphans, end_descendants

ORDER: Final = b"s"
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SAME_S: Final = 0.5
"""Signals that come within this time of the first one mean the same: a group may get them twice."""

BY_SIGNAL: Final = 128
"""Above it are the exit statuses of what a signal ended."""

INTERRUPTED: Final = BY_SIGNAL + signal.SIGINT
UNDERTAKER: Final = "deployments.commands.launch.undertaker"


class Orders:
    """What the process that serves is told by its keeper.

    Attributes:
        stop: set when the service is to answer what it accepted, and then to end.
        places: directories in which processes that are killed leave something behind.
    """

    def __init__(self, descriptor: int) -> None:
        self.stop = threading.Event()
        self.places: list[Path] = []
        self._descriptor = descriptor
        self._accepts = False
        threading.Thread(target=self._obey, name="orders", daemon=True).start()

    def accepting(self) -> None:
        """Take note that clients are being answered: from now on an order to stop lets these answers end."""
        self._accepts = True

    def _obey(self) -> None:
        """Do what the keeper says until it is gone; then end everything that it cannot end any more."""
        while os.read(self._descriptor, 1) == ORDER:
            if not self._accepts:
                os._exit(INTERRUPTED)  # the main thread may be waiting for Ray; the keeper ends what has been started
            self.stop.set()
        subprocess.run([sys.executable, "-m", UNDERTAKER, str(os.getpid()), *map(str, self.places)], check=False)  # noqa: S603


def keep(tidy_up: Callable[[], None]) -> Orders:
    """Split this process into a keeper and the process that serves. Returns in the latter only.

    Args:
        tidy_up: removes what processes that were killed left behind; called when all have ended.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    adopt_orphans()
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(reading)
        Keeper(child, writing, tidy_up).run()
    os.close(writing)
    adopt_orphans()
    os.setsid()
    leave_signals_to_keeper()
    return Orders(reading)


def leave_signals_to_keeper() -> None:
    """Let signals to this process do nothing: its keeper gets them too, or is the one to send them to.

    To be said again after Ray has started, which sets handlers of its own.
    """
    for number in SIGNALS:
        # Not ignored: what this process starts would ignore them too.
        signal.signal(number, lambda *_: None)


class Keeper:
    """Passes signals on, and ends what is left when the process that serves has ended.

    Args:
        child: the process that serves.
        orders: where it reads orders.
        tidy_up: as for ``keep``.
    """

    def __init__(self, child: int, orders: int, tidy_up: Callable[[], None]) -> None:
        self._child = child
        self._orders = orders
        self._tidy_up = tidy_up
        self._told_at: float | None = None

    def run(self) -> NoReturn:
        """End this process with the status of the child."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        status = _status_of(self._child)
        if status < 0:
            sys.stderr.write(f"Error: the service ended unexpectedly ({signal.Signals(-status).name})\n")
            status = BY_SIGNAL - status
        self._end(status)

    def _on_signal(self, *_: object) -> None:
        now = time.monotonic()
        if self._told_at is None:
            self._told_at = now
            with suppress(BrokenPipeError):
                os.write(self._orders, ORDER)
        elif now - self._told_at > SAME_S:
            self._end(INTERRUPTED)

    def _end(self, status: int) -> NoReturn:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        try:
            end_descendants()
            if status >= BY_SIGNAL:
                self._tidy_up()  # nobody else did
        finally:
            sys.stderr.flush()
            os._exit(status)


def _status_of(child: int) -> int:
    """Reap whatever ends until the child does; return its exit status, or the negative number of its signal."""
    for ended, status in _ended():
        if ended == child:
            return os.waitstatus_to_exitcode(status)
    raise ChildProcessError(f"process {child} is no child of this one")


def _ended() -> Iterable[tuple[int, int]]:
    while True:
        yield os.wait()
