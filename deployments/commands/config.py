"""Print a file that comes with the service.

These are the configurations, a systemd unit, alerts and a dashboard; without NAME they are listed. To serve the
configuration for 8 cores: "amanuensis config cpu-8-cores.yaml > serve_config.yaml", then "amanuensis serve" in the same
directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from deployments.commands.configuration import FILE_NAME, PACKAGE, packaged_path
from deployments.commands.errors import CommandError


@click.command(help=__doc__)
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Print one file, or the names of all."""
    files = shipped_files()
    if name is None:
        click.echo("\n".join(files))
        return
    if name not in files:
        raise CommandError(f"There is no file {name}; the names are: {', '.join(files)}")
    click.echo(files[name].read_bytes(), nl=False)


def shipped_files() -> Mapping[str, Path]:
    """Return the files that come with the service, by name: the default configuration and all of ``configs``."""
    # The wheel has the folder in the package, the source tree beside it.
    folder = next(path for place in (PACKAGE, PACKAGE.parent) if (path := place / "configs").is_dir())
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {FILE_NAME: packaged_path(), **{str(path.relative_to(folder)): path for path in paths}}
