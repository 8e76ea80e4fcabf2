"""A machine that is written down and read again is the same one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from npu_encoder.doctor.diagnosis import diagnose
from npu_encoder.doctor.machine import NO_ANSWER, LocalMachine
from npu_encoder.doctor.recording import RecordedMachine, Recorder
from tests.support.paths import RECORDED_MACHINES


@pytest.mark.parametrize("path", sorted(RECORDED_MACHINES.glob("*.txt")), ids=lambda path: str(path.stem))
def test_record_of_a_record_gives_the_same_diagnoses(path: Path) -> None:
    machine = RecordedMachine(path.read_text(encoding="utf-8"))
    recorder = Recorder(machine)
    found = diagnose(recorder)
    assert diagnose(RecordedMachine(recorder.record)) == found == diagnose(machine)


def test_this_machine_can_be_written_down() -> None:
    recorder = Recorder(LocalMachine())
    found = diagnose(recorder)
    again = RecordedMachine(recorder.record)
    assert diagnose(again) == found
    assert again.interpreter == LocalMachine().interpreter


def test_of_a_kernels_log_only_what_matters_is_kept() -> None:
    record = "=== python 3.13 /venv\n=== command dmesg\nusb 1-2: SerialNumber: 12345\namdxdna 0000:c6:00.1: hello\n"
    recorder = Recorder(RecordedMachine(record))
    recorder.run("dmesg")
    assert "SerialNumber" not in recorder.record
    assert "hello" in recorder.record


@pytest.mark.parametrize("record", ["", "=== file /proc/cmdline\nquiet\n"])
def test_record_without_a_python_is_rejected(record: str) -> None:
    with pytest.raises(ValueError, match="0 sections about Python"):
        RecordedMachine(record)


class TestLocalMachine:
    def test_files_and_names(self, tmp_path: Path) -> None:
        (tmp_path / "pyxrt.so").write_bytes(b"\xff")
        (tmp_path / "other").write_text("text")
        machine = LocalMachine()
        assert machine.read(str(tmp_path / "other")) == "text"
        assert machine.read(str(tmp_path / "pyxrt.so")) == "\N{REPLACEMENT CHARACTER}"
        assert machine.read(str(tmp_path / "none")) is None
        assert machine.names(str(tmp_path)) == ("other", "pyxrt.so")
        assert machine.names(str(tmp_path), "pyxrt") == ("pyxrt.so",)
        assert machine.names(str(tmp_path / "none")) == ()

    def test_rights(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert LocalMachine().may_use(str(tmp_path / "file"))
        assert not LocalMachine().may_use(str(tmp_path / "none"))

    def test_commands(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        program = tmp_path / "program"
        program.write_text("#!/bin/sh\necho out $1\necho error >&2\nexit 3\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        machine = LocalMachine()
        assert machine.run("program 'a b'") == "out a b\nerror\n"
        assert machine.run("no-such-program") is None

    def test_command_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("npu_encoder.doctor.machine.COMMAND_TIMEOUT_S", 0.05)
        assert LocalMachine().run("sleep 30") == NO_ANSWER

    def test_its_python_is_this_one(self) -> None:
        assert LocalMachine().interpreter.version == sys.version_info[:2]
