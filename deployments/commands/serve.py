"""Run the service on this machine.

Fetches the model if it is not here, starts Ray with the encoder's resource and Serve's fast paths, hands the
configuration to "serve run", says when the service is ready, watches over it, and on Ctrl-C, SIGTERM or a closed
terminal drains it before it leaves. Without CONFIG it takes serve_config.yaml in this directory, or else the one that
comes with the package: OpenAI's Whisper base on http://localhost:9000.

The exit status is 1 if the service cannot start, or cannot go on: a service manager may then start it anew.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

from deployments.commands.launch.keeper import keep

GIVE_UP_S = 180.0


@click.command(help=__doc__)
@click.argument("config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--give-up-after",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=GIVE_UP_S,
    show_default=True,
    help="End with status 1 when the service has not been ready for so long; 0: never.",
)
def command(config: Path | None, give_up_after: float) -> None:
    """Serve what the configuration names."""
    orders = keep(lambda: _tidy_up(config))

    # Imported here: the keeper, which lives as long as the service, needs none of it.
    from deployments.commands.configuration import read_configuration  # noqa: PLC0415
    from deployments.commands.launch.ports import check, inner_ports, ports_of  # noqa: PLC0415

    found = read_configuration(config)
    ports = inner_ports(found.port, os.environ)
    for port in ports_of(found, ports):
        check(port)

    from deployments.commands.launch.service import serve_until_stopped  # noqa: PLC0415  (takes a second)

    serve_until_stopped(found, orders, ports, give_up_after)


def _tidy_up(config: Path | None) -> None:
    """Remove what processes that were killed left in shared memory and in the directory of running services."""
    from deployments.commands.configuration import read_configuration  # noqa: PLC0415
    from deployments.commands.launch.service import places_of  # noqa: PLC0415
    from deployments.ingress.shared_directory import remove_stale  # noqa: PLC0415
    from deployments.shared.errors import ConfigurationError  # noqa: PLC0415

    with suppress(ConfigurationError):  # it was the reason why the service did not start
        for place in places_of(read_configuration(config)):
            remove_stale(place)
