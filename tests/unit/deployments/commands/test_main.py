"""The command line as a whole: its help, what it imports, its exit status."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from deployments.commands import main
from deployments.commands.errors import CommandError
from deployments.shared.errors import ConfigurationError
from npu_encoder.errors import DriverMissingError
from tests.support.command_line import amanuensis
from tests.support.paths import ROOT

HEAVY = ("ctranslate2", "numpy", "openvino", "ray")
RUN = "import sys\nfrom deployments.commands.main import main\nmain()"
IMPORT = "import importlib\nfor name in sys.argv[1:]: importlib.import_module('deployments.commands.' + name)"
TELL = f"import atexit, sys\natexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules]))\n"


def imported_by(program: str, *arguments: str) -> set[str]:
    """The heavy packages that a process has imported when it ends."""
    command = [sys.executable, "-c", TELL + program, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return {name for name in HEAVY if f"'{name}'" in done.stdout.splitlines()[-1]}


def test_the_help_says_what_each_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split(maxsplit=1) for line in lines[lines.index("Commands:") + 1 :]]
    assert [name for name, _ in listed] == list(main.COMMANDS)
    assert ["serve", "Run the service on this machine"] in listed


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis(name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"Usage: amanuensis {name} ")


def test_every_module_with_a_command_is_listed() -> None:
    directory = ROOT / "deployments" / "commands"
    modules = {path.stem for path in directory.glob("*.py") if "\ndef command(" in path.read_text("utf-8")}
    assert modules == set(main.COMMANDS)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("keys", "list", "--file", "FILE")], ids=str)
def test_what_must_be_quick_imports_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    assert imported_by(RUN, *(str(keys) if argument == "FILE" else argument for argument in arguments)) == set()


def test_no_command_imports_ray_before_it_starts_it() -> None:
    assert "ray" not in imported_by(IMPORT, *main.COMMANDS)


def test_a_client_of_the_service_imports_nothing_that_serves() -> None:
    assert imported_by(IMPORT, "transcribe", "replay") == set()


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis("--version") == 0
    assert capsys.readouterr().out == f"amanuensis {importlib.metadata.version('amanuensis')}\n"


@pytest.mark.parametrize("arguments", [("nonsense",), ("serve", "a", "b"), ("keys", "add"), ("--nonsense",)], ids=str)
def test_a_wrong_call_is_told_with_status_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis(*arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "Error: " in output.err


@pytest.mark.parametrize("kind", [CommandError, ConfigurationError, DriverMissingError])
def test_an_error_for_the_user_is_one_message_with_status_1(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main.program, "get_command", lambda *_: failing(kind("It is not there; place it there")))
    assert amanuensis("keys") == 1
    assert capsys.readouterr() == ("", "Error: It is not there; place it there\n")


def test_an_interrupted_command_ends_with_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main.program, "get_command", lambda *_: failing(KeyboardInterrupt()))
    assert amanuensis("keys") == 130
    assert "Traceback" not in capsys.readouterr().err


def failing(error: BaseException) -> click.Command:
    def fail() -> None:
        raise error

    return click.Command("fails", callback=fail)
