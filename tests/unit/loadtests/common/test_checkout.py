"""A service of another working tree is started with the entry that this tree has."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.common.checkout import HERE, read_checkout
from tests.support.paths import ROOT


def tree(directory: Path, *modules: str) -> Path:
    for module in modules:
        path = (directory / module.replace(".", "/")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return directory


def test_this_tree_is_started_as_a_user_starts_it() -> None:
    assert (HERE.directory, HERE.serve) == (ROOT, ("deployments.commands.main", "serve"))
    assert HERE.null_graph == "loadtests.benchmarks.parts.null_graph"


def test_an_older_tree_is_started_with_its_own_entry_and_null_graph(tmp_path: Path) -> None:
    older = read_checkout(tree(tmp_path, "deployments.launch", "loadtests.null_graph"))
    assert (older.serve, older.null_graph) == (("deployments.launch",), "loadtests.null_graph")


def test_a_directory_that_is_no_checkout_is_rejected_with_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has none of .*deployments\.launch\. Name a checkout of this repository"):
        read_checkout(tmp_path)
