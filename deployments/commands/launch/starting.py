"""Handing the configuration to Ray Serve, and waiting until the service answers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import yaml

from deployments.commands.configuration import Configuration
from deployments.commands.errors import CommandError
from deployments.commands.launch.addresses import LOOPBACK
from deployments.commands.launch.asking import why_not_ready
from deployments.commands.launch.environment import command
from deployments.commands.launch.ray_node import RayNode

POLL_S: Final = 0.5
STATUS_PERIOD_S: Final = 2.0
"""Seconds between two questions to Serve's controller, which starts everything: each costs it 40 ms of CPU."""

SAY_S: Final = 30.0
"""Seconds between two lines that say what a slow start waits for."""

FAILED: Final = "DEPLOY_FAILED"


def deploy(config: Configuration, node: RayNode, directory: Path) -> None:
    """Hand the configuration to Ray Serve.

    Serve is told to listen on this machine only: clients reach HAProxy, which is told where (``HOST_VARIABLE``), and
    nobody else needs the ports of replicas and proxies.

    Raises:
        CommandError: Serve failed.
    """
    document = yaml.safe_load(config.path.read_text(encoding="utf-8"))
    document["http_options"] = {**(document.get("http_options") or {}), "host": LOOPBACK}
    path = directory / "serve_config.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    arguments = [command("serve"), "run", str(path), "--address", node.address, "--non-blocking"]
    if subprocess.run(arguments, check=False).returncode:  # noqa: S603  (our own command)
        raise CommandError(f"Ray Serve did not take {config.path}; the log above says why")


def wait_until_ready(config: Configuration, node: RayNode) -> None:
    """Return once every application answers. As long as Serve is working on it, there is no limit to the time.

    Raises:
        CommandError: an application cannot start, or Ray has ended.
    """
    began = asked = said = time.monotonic()
    while reason := next(_missing(config), None):  # the first is enough: to ask all takes CPU from what starts
        now = time.monotonic()
        node.require()
        if now - asked > STATUS_PERIOD_S:
            asked = now
            _require_none_failed(node)
        if now - said > SAY_S:
            said = now
            click.echo(f"still starting after {now - began:.0f} s: {'; '.join(_waiting_for(node)) or reason}")
        time.sleep(POLL_S)


def _missing(config: Configuration) -> Iterator[str]:
    for name, url in config.urls.items():
        reason = why_not_ready(url)
        if reason is not None:
            yield f"{name}: {reason}"


def _require_none_failed(node: RayNode) -> None:
    for application in _applications(node).values():
        if application.status == FAILED:
            raise CommandError(f"The service could not start:\n{application.message}")


def _waiting_for(node: RayNode) -> list[str]:
    """Return what Serve says of the deployments that are not there yet."""
    return [
        f"{name} is {deployment.status.value.lower()}"
        for application in _applications(node).values()
        for name, deployment in application.deployments.items()
        if deployment.status != "HEALTHY"
    ]


def _applications(node: RayNode) -> dict[str, Any]:
    status = node.serve_status()
    return {} if status is None else dict(status.applications)
