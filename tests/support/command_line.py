"""Runs the command line in this process, as its entry point does."""

from __future__ import annotations

from deployments.commands.main import program


def amanuensis(*arguments: str) -> int:
    """Return the exit status of ``amanuensis ARGUMENTS``; it writes to this process' stdout and stderr."""
    try:
        program.main(arguments, prog_name="amanuensis")
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError("a command ends the process")
