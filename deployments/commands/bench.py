"""Run a benchmark.

NAME is one of those below; the arguments behind it are its own: "amanuensis bench NAME --help" shows them.
"""

from __future__ import annotations

import ast
import os
import pkgutil
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click

from deployments.commands.errors import CommandError
from deployments.commands.summaries import parse_module, summary_of

PACKAGE = "loadtests.benchmarks"
SAMPLES = Path(__file__).parents[2] / "tests" / "models" / "demo-en"
EXTRA = ("aiohttp", "jiwer", "matplotlib", "openvino_genai", "urllib3", "whisper_normalizer")
"""The modules that the wheel's extra ``bench`` brings."""

NEED_SOURCES = frozenset({"host-share", "simulated-npu", "throughput", "tuning"})
"""Benchmarks of the model and the recordings that the source tree has among its tests."""


class Benchmarks(click.Group):
    """A command per benchmark: a module of ``loadtests.benchmarks`` that can be run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all benchmarks."""
        del ctx
        return sorted(benchmarks())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command that becomes a benchmark; None where there is none of that name."""
        del ctx
        module = benchmarks().get(cmd_name)
        if module is None:
            return None
        return click.Command(
            cmd_name,
            callback=partial(become, cmd_name, module),
            params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
            short_help=summary_of(module),
            add_help_option=False,  # the benchmark has its own
            context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
        )


@click.command(cls=Benchmarks, help=__doc__, subcommand_metavar="NAME [ARGS]...")
def command() -> None:
    """Leave the work to the benchmark."""


def benchmarks() -> dict[str, str]:
    """Return the benchmarks: their names, and the modules to run."""
    package = find_spec(PACKAGE)
    places = package.submodule_search_locations if package else None
    found = {info.name: f"{PACKAGE}.{info.name}" for info in pkgutil.iter_modules(places)}
    runnable = {name: _runnable(module) for name, module in found.items()}
    return {name.replace("_", "-"): module for name, module in runnable.items() if module}


def become(name: str, module: str, arguments: Sequence[str]) -> None:
    """Let a benchmark take this process, so that it gets all signals itself. Does not return.

    Raises:
        CommandError: what the benchmark needs is not installed, or not here.
    """
    missing = [required for required in EXTRA if find_spec(required) is None]
    if missing:
        raise CommandError(f"Benchmarks need {', '.join(missing)}. Install them: pip install 'amanuensis[bench]'.")
    if name in NEED_SOURCES and not SAMPLES.is_dir():
        raise CommandError(f"The benchmark {name} needs the recordings of the source tree; run it there after `make`")
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606  (no shell, our own module)


def _runnable(module: str) -> str | None:
    """Return the module to run: itself, or a package's ``__main__``; None where it is only imported by others."""
    main = f"{module}.__main__"
    spec = find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        return main if find_spec(main) else None
    functions = (node for node in parse_module(module).body if isinstance(node, ast.FunctionDef))
    return module if any(each.name == "main" and not each.args.args for each in functions) else None
