"""The options that say which service is meant, and who asks."""

from __future__ import annotations

import click

URL = click.option(
    "--url",
    envvar="AMANUENSIS_URL",
    default="http://localhost:9000",
    show_default=True,
    show_envvar=True,
    help="The running service.",
)
KEY = click.option(
    "--key",
    envvar="AMANUENSIS_API_KEY",
    show_envvar=True,
    help="Your API key, where the service asks for one; other users of this machine see it here, not in the variable.",
)
