"""What a terminal shows while a file is sent and transcribed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from deployments.commands.client.events import Progress
from deployments.commands.client.progress import FileProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    """All that was written while a file was sent, refused, sent again and transcribed."""
    monkeypatch.setattr("sys.stderr", stream)
    progress = FileProgress(Path("there/talk.mp3"))
    progress._bar.mininterval = 0.0  # all of it, however fast it goes
    progress.sent(512, 1024)
    progress.refused("It is busy")
    progress.sent(1024, 1024)
    for end_s in (30.0, 60.0, 60.5):
        progress.heard(Progress.model_validate({"end": end_s, "duration": 60.0}))
    progress.close()
    return stream.getvalue()


def test_a_terminal_shows_bytes_and_then_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show(Terminal(), monkeypatch)
    assert "talk.mp3: sending:  50%" in shown
    assert "there/talk.mp3: It is busy\n" in shown
    assert "talk.mp3: sent, waiting for its turn" in shown
    assert "talk.mp3: transcribing:  50%" in shown
    assert "| 30/60 s of audio" in shown
    assert "| 60/60 s of audio" in shown
    assert shown.endswith("\r"), "nothing is left of the bar"


def test_anything_else_gets_the_lines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show(io.StringIO(), monkeypatch) == "there/talk.mp3: It is busy\n"
