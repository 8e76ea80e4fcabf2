"""One run of the service, from its checks to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from deployments.commands.configuration import Configuration
from deployments.commands.errors import CommandError
from deployments.commands.launch.environment import set_environment
from deployments.commands.launch.family import end_descendants
from deployments.commands.launch.keeper import Orders, leave_signals_to_keeper
from deployments.commands.launch.places import places_of, tidy
from deployments.commands.launch.ports import DASHBOARD_VARIABLE
from deployments.commands.launch.ray_node import RayNode
from deployments.commands.launch.runtime_directory import create_runtime_directory
from deployments.commands.launch.starting import deploy, wait_until_ready
from deployments.commands.launch.stopping import leave
from deployments.commands.launch.token import provide_token
from deployments.commands.launch.watching import Watch
from deployments.commands.launch.welcome import warnings, welcome
from deployments.shared.model.description import load_model
from deployments.shared.resources import ENCODER_RESOURCE

LEAVE_S: Final = 5.0


def serve_until_stopped(config: Configuration, orders: Orders, ports: Mapping[str, int], give_up_s: float) -> None:
    """Serve until an order comes.

    Args:
        config: what is served.
        orders: what the keeper of this process says.
        ports: the service's other ports, by the variables that name them.
        give_up_s: as for ``Watch``.

    Raises:
        ConfigurationError: a setting is wrong, or a model cannot be had.
        CommandError: the service did not start, or cannot go on.
    """
    orders.places = places_of(config)
    devices = sum(settings.encoder_replicas for settings in config.settings())
    for warning in warnings(config):
        click.secho(warning, err=True, bold=True)
    fetch_models(config)
    home = create_runtime_directory()
    try:
        set_environment(config, ports, home.path)
        provide_token(home.path)
        click.echo(f"starting Ray for {config.path}")
        node = RayNode({ENCODER_RESOURCE: float(devices)}, ports[DASHBOARD_VARIABLE])
        leave_signals_to_keeper()
        _serve(config, orders, node, home.path, give_up_s)
    finally:
        end_descendants(patience_s=LEAVE_S)
        home.remove()
        tidy(orders.places)
    click.echo("stopped")


def fetch_models(config: Configuration) -> None:
    """Find or fetch every application's model, with a progress bar, before anything else runs or has to be ready.

    ``build()`` finds it again, in the model cache, and gives its path to the replicas.
    """
    for settings in config.settings():
        load_model(settings)


def _serve(config: Configuration, orders: Orders, node: RayNode, directory: Path, give_up_s: float) -> None:
    accepting: Sequence[str] = ()
    try:
        deploy(config, node, directory)
        wait_until_ready(config, node)
        accepting = tuple(config.arguments)
        orders.accepting()
        click.echo(welcome(config.url, node.dashboard))
        Watch(config, node, directory, give_up_s).run(orders)
    except CommandError:
        accepting = ()  # what cannot go on answers nobody
        raise
    finally:
        leave(accepting, max(settings.drain_timeout_s for settings in config.settings()), directory)
