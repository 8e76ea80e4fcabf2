"""Ray on this machine, as this command started it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

import click
import psutil

from deployments.commands.errors import CommandError
from deployments.commands.launch.family import end_descendants

ESSENTIAL: Final = ("gcs_server", "raylet")
"""Ray's processes without which nothing goes on, as the kernel names them."""

STARTS: Final = 3
"""Ray gives its own processes 30 s to start, which is too little where the machine has much else to do."""

STATUS_S: Final = 10.0
STATUS_POLL_S: Final = 0.05


class RayNode:
    """A running Ray of one node.

    Attributes:
        address: of its control store.
        dashboard: host and port of Ray's dashboard; empty if it does not run.
    """

    def __init__(self, resources: dict[str, float], dashboard_port: int) -> None:
        """Start it.

        Raises:
            CommandError: it does not start.
        """
        import ray  # noqa: PLC0415  (reads the environment when imported)

        for attempt in range(1, STARTS + 1):
            try:
                # "local": a Ray that somebody else started on this machine is none of ours.
                context = ray.init(address="local", resources=resources, dashboard_port=dashboard_port)
                break
            except Exception as error:
                ray.shutdown()
                end_descendants()
                if attempt == STARTS:
                    raise CommandError(f"Ray did not start: {error}") from error
                click.echo(f"Ray did not start, which is tried again: {error}")
        self.address: str = context.address_info["gcs_address"]
        self.dashboard: str = context.dashboard_url or ""
        self._essential = [child for child in psutil.Process().children() if _name(child) in ESSENTIAL]

    def require(self) -> None:
        """Return if Ray's own processes are there.

        Raises:
            CommandError: one of them has ended.
        """
        for process in self._essential:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                raise CommandError(f"Ray's process {process.pid} has ended, without which the service cannot go on")

    def serve_status(self) -> Any | None:
        """Return what Serve's controller says of all applications; None if it does not answer.

        Raises:
            CommandError: as ``require`` does.
        """
        from ray import serve  # noqa: PLC0415

        answer: Future[Any] = Future()

        def ask() -> None:
            try:
                answer.set_result(serve.status())
            except Exception as error:  # noqa: BLE001  (whatever it is, it is not an answer)
                answer.set_exception(error)

        # A thread of its own: while the controller is dead, Ray waits for it without end.
        threading.Thread(target=ask, daemon=True).start()
        until = time.monotonic() + STATUS_S
        while not answer.done() and time.monotonic() < until:
            self.require()
            time.sleep(STATUS_POLL_S)
        return answer.result() if answer.done() and answer.exception() is None else None


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return str(process.name())
    return ""
