"""A guard beside each HAProxy: starts it again at once when it dies, and ends it when nobody needs it any more.

Serve's manager notices the death of its HAProxy by three failed checks, and then a new manager starts another one: 6 to
7 s in which nobody is answered. The guard starts an interim HAProxy within milliseconds, with the configuration that
the dead one had. The next HAProxy of a manager takes the ports over from it, as it does in a reload. The interim one
has a control socket of its own, so the manager does not take it for the HAProxy that it started, and is replaced as
ever.

A HAProxy whose manager died goes on, outside of the manager's process group, until that of the next manager takes over.
Neither lives on when the node's raylet is gone: nothing of the service is left then.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress

from deployments.haproxy.configuration import with_control_socket
from deployments.haproxy.home import Home, Process, Running

UNMANAGED_S = 60.0
"""Seconds that a HAProxy without a manager may serve on. A new manager is there after a few, if there will be one."""

MOST_STARTS = 5
"""How often one guard starts HAProxy again. Each time, something killed it."""

LOOK_S = 1.0


def start(home: Home, anchor: int, binary: str) -> None:
    """Start a guard over the HAProxy that this process is about to become.

    Args:
        home: the files of its manager.
        anchor: the process, such as a raylet, without which no HAProxy may live.
        binary: HAProxy's.
    """
    process, manager = Process.of(os.getpid()), Process.of(os.getppid())
    if process is None or manager is None:
        raise ProcessLookupError("this process or its parent has ended")
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    # Forked twice: the guard is nobody's child, so HAProxy need not wait for it.
    if os.fork():
        os._exit(0)
    status = 1
    try:
        os.setsid()
        Guard(home, process, manager, Process.of(anchor), binary).run()
        status = 0
    finally:
        os._exit(status)


class Guard:
    """Watches one HAProxy, and those that it starts in its place.

    Args:
        home: the files of the manager.
        process: the HAProxy.
        manager: who started it.
        anchor: without it no HAProxy may live; None if it has ended.
        binary: HAProxy's.
    """

    def __init__(self, home: Home, process: Process, manager: Process, anchor: Process | None, binary: str) -> None:
        self._home = home
        self._process = process
        self._manager = manager
        self._anchor = anchor
        self._binary = binary
        self._predecessor = home.running()
        self._unmanaged_since: float | None = None
        self._starts = 0

    def run(self) -> None:
        """Return when the HAProxy is gone for good."""
        while not _has_ended(self._process, LOOK_S) or self._start_again():
            if not self._is_needed():
                _kill(self._process)
                return

    def _is_needed(self) -> bool:
        """Tell whether anybody can still need the HAProxy."""
        if self._anchor is None or not self._anchor.lives:
            return False
        if self._manager.lives and not self._starts:
            return True
        running = self._home.running()
        if running is not None and running.process != self._process:
            return True  # it answers the last of its requests; the newer one has its own guard
        now = time.monotonic()
        if self._unmanaged_since is None:
            self._unmanaged_since = now
        return now - self._unmanaged_since < UNMANAGED_S

    def _start_again(self) -> bool:
        """Put an interim HAProxy in the place of the dead one; return whether there is one now."""
        home = self._home
        if home.is_stopping or self._anchor is None or not self._anchor.lives or not home.last.exists():
            return False
        if home.running() is not None:
            return False  # another one has the ports already
        if self._predecessor is not None and self._predecessor.process.lives:
            home.set_running(self._predecessor)  # the dead one never took over from it
            return False
        if self._starts == MOST_STARTS:
            home.tell(f"HAProxy died {MOST_STARTS} times in a row; it is left to Ray Serve")
            return False
        self._starts += 1
        interim = self._start_interim()
        home.tell(f"HAProxy (process {self._process.pid}) died; another one (process {interim}) was started at once")
        process = Process.of(interim)
        if process is None:
            return False
        self._process = process
        home.set_running(Running(process, home.interim_socket))
        return True

    def _start_interim(self) -> int:
        home = self._home
        text = with_control_socket(home.last.read_text(encoding="utf-8"), home.interim_socket)
        home.write(home.interim, text)
        command = [self._binary, "-db", "-f", str(home.interim), "-dR"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True).pid  # noqa: S603


def _has_ended(process: Process, seconds: float) -> bool:
    """Wait until a process ends, for ``seconds`` at most; tell whether it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        ended = bool(waiting.poll(1000 * seconds)) or not process.lives
    finally:
        os.close(descriptor)
    if ended:
        with suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
    return ended


def _kill(process: Process) -> None:
    if process.lives:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
