"""A working tree of this repository, this one or another: what a service of it is started with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from loadtests.common.paths import ROOT

SERVE = (("deployments.commands.main", "serve"), ("deployments.commands.serve",), ("deployments.launch",))
"""Modules, with their arguments, that serve a configuration file."""

NULL_GRAPHS = ("loadtests.benchmarks.parts.null_graph", "loadtests.benchmarks.null_graph", "loadtests.null_graph")
"""Modules of the graph whose stages compute nothing. As above, the newest is first: a tree has what its age has."""


@dataclass(frozen=True)
class Checkout:
    """One tree.

    Attributes:
        serve: the module, and its arguments, that serves a configuration file.
    """

    directory: Path
    serve: tuple[str, ...]

    @property
    def null_graph(self) -> str:
        """The module of the graph whose stages compute nothing."""
        return _first_in(self.directory, NULL_GRAPHS)


def read_checkout(directory: Path) -> Checkout:
    """Look how a service of a tree is started.

    Raises:
        ValueError: the directory is no checkout of this repository.
    """
    module = _first_in(directory, (module for module, *_ in SERVE))
    return Checkout(directory.resolve(), next(command for command in SERVE if command[0] == module))


def _first_in(directory: Path, modules: Iterable[str]) -> str:
    tried = list(modules)
    for module in tried:
        if (directory / module.replace(".", "/")).with_suffix(".py").is_file():
            return module
    raise ValueError(f"{directory} has none of {', '.join(tried)}. Name a checkout of this repository.")


HERE = read_checkout(ROOT)
