"""Makes and removes API keys: ``python -m deployments.commands.keys add NAME [--operator] --file F``.

A running service sees the change at its next request.
"""

from __future__ import annotations

import argparse
import os
import secrets
import stat
import sys
import tempfile
from pathlib import Path

from deployments.ingress.clients.key_file import ANONYMOUS, NAME, Client, digest_of, read_keys
from deployments.shared.errors import ConfigurationError

KEY_BYTES = 32


def main(arguments: list[str] | None = None) -> int:
    """Does what the command line says; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "add":
                key = add(options.file, options.name, operator=options.operator)
                sys.stdout.write(f"{key}\n")
                sys.stderr.write("keep it: this key is shown only now\n")
            case "remove":
                remove(options.file, options.name)
            case "list":
                for client in clients(options.file).values():
                    sys.stdout.write(f"{client.name}{' operator' if client.operator else ''}\n")
    except (ConfigurationError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def add(file: Path, name: str, *, operator: bool) -> str:
    """Gives ``name`` a new key; makes the file if there is none. The key is kept nowhere else.

    Raises:
        ValueError: the name is malformed, reserved, or has a key already.
        ConfigurationError: the file is not as the service wants it.
    """
    if not NAME.fullmatch(name):
        raise ValueError("a name is a letter or digit, then up to 63 letters, digits, dots, underscores and dashes")
    if name == ANONYMOUS:
        raise ValueError(f"{ANONYMOUS} is what clients without a key are called; take another name")
    if file.exists() and name in clients(file):
        raise ValueError(f"{name} has a key; remove it first, or take another name")
    key = secrets.token_urlsafe(KEY_BYTES)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    _write(file, [*lines, f"{name} {digest_of(key).hex()}{' operator' if operator else ''}"])
    return key


def remove(file: Path, name: str) -> None:
    """Takes the key of ``name`` away.

    Raises:
        ValueError: nobody of that name has one.
        ConfigurationError: the file is not as the service wants it.
    """
    if name not in clients(file):
        raise ValueError(f"nobody called {name} has a key")
    lines = file.read_text(encoding="utf-8").splitlines()
    _write(file, [line for line in lines if line.split()[:1] != [name]])


def clients(file: Path) -> dict[str, Client]:
    """Everybody who has a key, by name.

    Raises:
        ConfigurationError: the file is not as the service wants it.
    """
    return {entry.client.name: entry.client for entry in read_keys(file)}


def _write(file: Path, lines: list[str]) -> None:
    """In one step, so that the service never reads half a file; owner and mode stay as they were."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as target:
            target.writelines(f"{line}\n" for line in lines)
            if file.exists():
                before = file.stat()
                os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployments.commands.keys", description="API keys of the service")
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="make a key and print it, once")
    adding.add_argument("name")
    adding.add_argument("--operator", action="store_true", help="the key may also see statistics")
    removing = commands.add_parser("remove", help="take a client's key away")
    removing.add_argument("name")
    listing = commands.add_parser("list", help="the clients that have keys")
    for command in (adding, removing, listing):
        command.add_argument("--file", type=Path, required=True, help="the service's `api_keys_file`")
    return parser


if __name__ == "__main__":
    sys.exit(main())
