"""``amanuensis bench``: which benchmarks there are, and that each gets its own arguments."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path

import pytest

from deployments.commands import bench
from tests.support.command_line import amanuensis
from tests.support.paths import ROOT

BENCHMARKS = bench.benchmarks()


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that took the process over, without doing so."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: commands.append(command))
    return commands


def test_every_benchmark_is_listed_with_a_line_of_its_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis("bench", "--help") == 0
    listing = capsys.readouterr().out.partition("Commands:\n")[2]
    assert set(re.findall(r"^  (\S+)  ", listing, re.MULTILINE)) == set(BENCHMARKS)
    assert {"accuracy", "encoders", "simulated-npu", "throughput", "tuning"} <= set(BENCHMARKS)
    assert "Measure error rates over a corpus of recordings" in listing
    assert "python -m" not in listing


def test_a_benchmark_takes_the_process_and_all_that_follows_its_name(executed: list[list[str]]) -> None:
    amanuensis("bench", "accuracy", "DIR", "--model", "base", "--help")
    amanuensis("bench", "--", "simulated-npu", "-x")
    run = [sys.executable, "-m"]
    assert executed == [
        [*run, "loadtests.benchmarks.accuracy.__main__", "DIR", "--model", "base", "--help"],
        [*run, "loadtests.benchmarks.simulated_npu", "-x"],
    ]


def test_an_unknown_one_is_a_wrong_call(executed: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis("bench", "trough") == 2
    assert "trough" in capsys.readouterr().err
    assert executed == []


def test_what_is_missing_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], executed: list[list[str]]
) -> None:
    monkeypatch.setattr(bench, "EXTRA", ("jiwer", "nowhere_to_be_found"))
    assert amanuensis("bench", "encoders") == 1
    message = capsys.readouterr().err
    assert message == "Error: Benchmarks need nowhere_to_be_found. Install them: pip install 'amanuensis[bench]'.\n"
    assert executed == []


def test_the_extra_has_what_is_asked_for() -> None:
    """Read from the source tree: the installed package may be older."""
    text = (ROOT / "pyproject.toml").read_text("utf-8").partition("\nbench = [")[2].partition("]")[0]
    packages = set(re.findall(r'"([a-z][a-z0-9-]*)', text))
    provided = importlib.metadata.packages_distributions()
    assert packages == {provided[module][0].lower().replace("_", "-") for module in bench.EXTRA}


def test_without_the_source_tree_only_what_needs_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], executed: list[list[str]]
) -> None:
    assert set(BENCHMARKS) >= bench.NEED_SOURCES
    monkeypatch.setattr(bench, "SAMPLES", tmp_path / "nowhere")
    assert amanuensis("bench", "throughput") == 1
    assert "source tree" in capsys.readouterr().err
    assert executed == []
    amanuensis("bench", "accuracy", "DIR")
    assert len(executed) == 1
