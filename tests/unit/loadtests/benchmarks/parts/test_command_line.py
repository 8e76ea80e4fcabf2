"""How a page shows the command that made it."""

from __future__ import annotations

import sys

import pytest

from loadtests.benchmarks.parts.command_line import shown_command


def test_paths_of_this_machine_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["/data/speech/", "--peers", "--model", "/models/my base", "--file", "a b/*"]
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    shown = shown_command("amanuensis bench accuracy", {"/data/speech": "$SPEECH_CORPUS"})
    assert shown == "amanuensis bench accuracy $SPEECH_CORPUS --peers --model my base --file 'a b/*'"
