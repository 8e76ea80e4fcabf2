"""One line about a module, from its docstring."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path


def summary_of(module: str) -> str:
    """Return the first sentence of a module's docstring, without the command line in it and without its full stop.

    The module is read, not imported: importing may take seconds.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    first_line = (ast.get_docstring(parse_module(module)) or "").partition("\n")[0]
    return first_line.partition(": ``")[0].rstrip(".")


def parse_module(module: str) -> ast.Module:
    """Return the syntax tree of a module that need not be imported.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"There is no module {module}", name=module)
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
