"""Make, list and remove API keys.

A running service sees the change at its next request.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from deployments.commands.errors import CommandError
from deployments.commands.files import OWNER_ONLY, only_writer, replace_file
from deployments.ingress.clients.key_file import ANONYMOUS, NAME, Client, digest_of, read_keys

KEY_BYTES = 32

FILE = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file that the service's setting `api_keys_file` names.",
)


@click.group(help=__doc__)
def command() -> None:
    """Leave the work to the commands below."""


@command.command("add")
@click.argument("name")
@click.option("--operator", is_flag=True, help="The key may also see statistics and failures.")
@FILE
def add_command(name: str, *, operator: bool, file: Path) -> None:
    """Make a key for NAME and print it, once."""
    click.echo(add(file, name, operator=operator))
    click.echo("Keep it: this key is shown only now", err=True)


@command.command("remove")
@click.argument("name")
@FILE
def remove_command(name: str, file: Path) -> None:
    """Take the key of NAME away."""
    remove(file, name)


@command.command("list")
@FILE
def list_command(file: Path) -> None:
    """Name everybody who has a key."""
    for client in clients(file).values():
        click.echo(f"{client.name}{' operator' if client.operator else ''}")


def add(file: Path, name: str, *, operator: bool) -> str:
    """Return a new key of ``name``, which is kept nowhere else; make the file if there is none.

    Raises:
        CommandError: the name is malformed, reserved, or has a key already, or the file cannot be written.
        ConfigurationError: the file is not as the service wants it.
    """
    if not NAME.fullmatch(name):
        raise CommandError("A name is a letter or digit, then up to 63 letters, digits, dots, underscores and dashes")
    if name == ANONYMOUS:
        raise CommandError(f"{ANONYMOUS} is what clients without a key are called; take another name")
    key = secrets.token_urlsafe(KEY_BYTES)
    file = file.resolve()  # the file that a link leads to is replaced, not the link
    with only_writer(file):
        if file.exists() and name in clients(file):
            raise CommandError(f"{name} has a key; remove it first, or take another name")
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        _write(file, [*lines, f"{name} {digest_of(key).hex()}{' operator' if operator else ''}"])
    return key


def remove(file: Path, name: str) -> None:
    """Take the key of ``name`` away.

    Raises:
        CommandError: nobody of that name has one, or the file cannot be written.
        ConfigurationError: the file is not as the service wants it.
    """
    file = file.resolve()
    with only_writer(file):
        if name not in clients(file):
            raise CommandError(f"Nobody called {name} has a key")
        lines = file.read_text(encoding="utf-8").splitlines()
        _write(file, [line for line in lines if line.split()[:1] != [name]])


def clients(file: Path) -> dict[str, Client]:
    """Return everybody who has a key, by name.

    Raises:
        ConfigurationError: the file is not as the service wants it.
    """
    return {entry.client.name: entry.client for entry in read_keys(file)}


def _write(file: Path, lines: list[str]) -> None:
    replace_file(file, "".join(f"{line}\n" for line in lines).encode(), mode=OWNER_ONLY)
