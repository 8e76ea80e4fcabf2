"""The folders are the graph: who may import whom, and that each folder says what it holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGES = ("deployments", "npu_encoder", "loadtests")
STAGES = ("mel", "encoder", "decoder", "diarizer")
STARTS_RAY = ("deployments.commands.serve", "deployments.commands.launch")

INGRESS = "deployments.ingress"
GRAPH = ("deployments.app", "deployments.placement", "deployments.commands")


def folders(package: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{package}.{name}" for name in names)


FORBIDDEN = [
    ("npu_encoder", ("deployments", "loadtests", "tests")),
    ("npu_encoder.graphs", folders("npu_encoder", "cpu", "npu", "simulator")),
    ("npu_encoder.cpu", folders("npu_encoder", "npu", "simulator")),
    ("npu_encoder.simulator", folders("npu_encoder", "cpu", "graphs", "loading")),
    ("deployments", ("loadtests", "tests")),
    ("deployments.shared", (*GRAPH, INGRESS, *folders("deployments", *STAGES, "haproxy"))),
    ("deployments.haproxy", (*GRAPH, INGRESS, *folders("deployments", *STAGES))),
    *((f"deployments.{stage}", (*GRAPH, INGRESS)) for stage in STAGES),
    *((f"deployments.{stage}", folders("deployments", *(set(STAGES) - {stage}))) for stage in STAGES),
    (INGRESS, (*GRAPH, *folders("deployments", *STAGES))),
    (f"{INGRESS}.service", folders(INGRESS, "http", "deployment")),
    (f"{INGRESS}.scheduling", folders(INGRESS, "http", "service", "deployment")),
    *(
        (f"{INGRESS}.{leaf}", folders(INGRESS, "http", "service", "scheduling", "deployment"))
        for leaf in ("transcript", "telemetry", "failures", "clients", "jobs")
    ),
    (f"{INGRESS}.live", folders(INGRESS, "http", "deployment")),
    *((f"{INGRESS}.{leaf}", folders(INGRESS, "http", "service", "scheduling")) for leaf in ("request", "form")),
    ("loadtests", ("tests",)),
    ("loadtests.common", folders("loadtests", "benchmarks", "load")),
]
"""Who must not import whom, however deep inside."""


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


MODULES = dict(modules())


def imported_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


class WithoutTypeChecking(ast.NodeTransformer):
    """Leaves out what only a type checker runs."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        is_for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if is_for_types else self.generic_visit(node)


def imports_of(tree: ast.AST) -> set[str]:
    """The modules that a file names in its imports, those inside functions too."""
    names = imported_names(tree)
    return {name if name in MODULES else name.rpartition(".")[0] or name for name in names}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each module imports."""
    return {name: imports_of(parsed(path)) for name, path in MODULES.items()}


@pytest.fixture(scope="module")
def runtime_imports() -> dict[str, set[str]]:
    """What each module imports when it runs."""
    return {name: imports_of(WithoutTypeChecking().visit(parsed(path))) for name, path in MODULES.items()}


def is_in(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}.")


@pytest.mark.parametrize(("folder", "above"), FORBIDDEN)
def test_nothing_imports_upward_or_sideways(folder: str, above: tuple[str, ...], imports: dict[str, set[str]]) -> None:
    assert any(is_in(name, folder) for name in MODULES), "the rule is about something"
    wrong = {
        (name, imported)
        for name, names in imports.items()
        for imported in names
        if is_in(name, folder) and any(is_in(imported, each) for each in above)
    }
    assert not wrong


def test_there_is_no_circle(imports: dict[str, set[str]]) -> None:
    inside = {name: {each for each in names if each in MODULES} - {name} for name, names in imports.items()}
    assert set(TopologicalSorter(inside).static_order()) == set(MODULES), "static_order raises on a circle"


def reached_from(name: str, imports: dict[str, set[str]]) -> set[str]:
    """The name and all that its import brings along."""
    todo, found = [name], {name}
    while todo:
        module = todo.pop()
        if module in imports:
            new = imports[module] - found
            found |= new
            todo += new
    return found


@pytest.mark.parametrize("command", [name for name in MODULES if is_in(name, "deployments.commands")])
def test_only_the_command_that_starts_ray_imports_it(command: str, runtime_imports: dict[str, set[str]]) -> None:
    if any(is_in(command, starts) for starts in STARTS_RAY):
        return
    assert not {name for name in reached_from(command, runtime_imports) if is_in(name, "ray")}


@pytest.mark.parametrize("package", [path for name, path in MODULES.items() if path.name == "__init__.py"], ids=str)
def test_a_folder_says_what_it_holds(package: Path) -> None:
    words = ast.get_docstring(parsed(package))
    assert words
    assert words.split("\n\n")[0].endswith(".")


@pytest.mark.parametrize("folder", ["ingress", *STAGES])
def test_the_folder_of_a_deployment_says_which_process_runs_it(folder: str) -> None:
    words = ast.get_docstring(parsed(ROOT / "deployments" / folder / "__init__.py"))
    assert words is not None
    assert "deployment" in words
    assert "process" in words or "replica" in words or "actor" in words
