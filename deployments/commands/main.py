"""The command line: ``amanuensis COMMAND``.

A command is a module beside this one that has a click command called ``command``; the module's docstring is its help.
It is imported when it is asked for, so that ``amanuensis --help`` does not wait for what other commands need.

Exit status: 0 all is well, 1 the command failed, 2 it was called wrongly, 130 it was interrupted.
"""

from __future__ import annotations

import importlib
import signal
from typing import Any

import click

from deployments.commands.errors import CommandError
from deployments.commands.summaries import summary_of
from deployments.shared.errors import ConfigurationError
from npu_encoder.errors import EncoderError

PACKAGE = "deployments.commands"
COMMANDS = ("serve", "transcribe", "doctor", "npu", "config", "model", "keys", "replay", "bench")
INTERRUPTED = 128 + signal.SIGINT


class Program(click.Group):
    """All commands, none of which is imported before it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the help."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; return None where there is none of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{PACKAGE}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line per command, from its docstring."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary_of(f"{PACKAGE}.{name}")) for name in COMMANDS])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn the errors that are meant for its user into one message and an exit status."""
        try:
            return super().invoke(ctx)
        except (CommandError, ConfigurationError, EncoderError) as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo(err=True)  # the terminal's ^C, or a progress bar, is in this line
            raise click.exceptions.Exit(INTERRUPTED) from None


@click.command(cls=Program, help="Speech to text as a service: OpenAI's audio API over a Ray Serve graph.")
@click.version_option(package_name="amanuensis", prog_name="amanuensis", message="%(prog)s %(version)s")
def program() -> None:
    """Leave the work to the command."""


def main() -> None:
    """Run the command that the arguments name, and end the process with its exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a command tidies up as it does after Ctrl-C
    program(prog_name="amanuensis")


if __name__ == "__main__":
    main()
