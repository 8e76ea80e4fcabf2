"""Watching over a service that runs: when it cannot go on, the command ends and says why."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from deployments.commands.configuration import Configuration
from deployments.commands.errors import CommandError
from deployments.commands.launch.asking import why_not_ready
from deployments.commands.launch.keeper import Orders
from deployments.commands.launch.ray_node import RayNode
from deployments.haproxy.home import EVENTS

LOOK_S: Final = 2.0
CONTROLLER_S: Final = 20.0
"""Seconds between two questions to Serve's controller. Clients need it only when something is to be replaced."""


class Watch:
    """Follows one running service.

    Args:
        config: what is served.
        node: the Ray it runs on.
        directory: the service's own.
        give_up_s: seconds without a ready application, or without a controller, after which it is given up; 0: never.
    """

    def __init__(self, config: Configuration, node: RayNode, directory: Path, give_up_s: float) -> None:
        self._config = config
        self._node = node
        self._events = directory / EVENTS
        self._told = 0
        self._give_up_s = give_up_s
        self._red: dict[str, tuple[float, str]] = {}
        self._asked = time.monotonic()

    def run(self, orders: Orders) -> None:
        """Return when the service is to stop.

        Raises:
            CommandError: it cannot go on.
        """
        while not orders.stop.wait(LOOK_S):
            self._node.require()
            self._tell_events()
            for name, url in self._config.urls.items():
                self._note(name, why_not_ready(url))
            if time.monotonic() - self._asked > CONTROLLER_S:
                self._asked = time.monotonic()
                silent = self._node.serve_status() is None
                self._note("Serve's controller", "it does not answer" if silent else None)

    def _note(self, what: str, reason: str | None) -> None:
        now = time.monotonic()
        if reason is None:
            if self._red.pop(what, None) is not None:
                click.echo(f"{what} is well again")
            return
        if what not in self._red:
            click.echo(f"{what} is not ready: {reason}")
        since, _ = self._red.get(what, (now, ""))
        self._red[what] = since, reason
        if self._give_up_s and now - since > self._give_up_s:
            raise CommandError(f"{what} has not been ready for {now - since:.0f} s: {reason}")

    def _tell_events(self) -> None:
        """Repeat what the guards of HAProxy wrote since the last look."""
        if not self._events.exists():
            return
        text = self._events.read_text(encoding="utf-8")
        new, self._told = text[self._told :], len(text)
        if new:
            click.echo(new, nl=False)
