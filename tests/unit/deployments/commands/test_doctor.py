"""``amanuensis doctor``: what it finds on a machine, and its exit status."""

from __future__ import annotations

import importlib.util
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.commands import machine
from deployments.commands.launch import asking
from loadtests.common.service_process import free_port, own_ports
from npu_encoder.doctor.diagnosis import diagnose
from npu_encoder.doctor.machine import LocalMachine
from npu_encoder.doctor.recording import RecordedMachine
from npu_encoder.simulator.kernels import KernelShape, write_kernels
from tests.support.command_line import amanuensis
from tests.support.paths import DEMO_MODEL
from tests.support.transcribing_service import scripted_service

without_pyxrt = pytest.mark.skipif(importlib.util.find_spec("pyxrt") is not None, reason="pyxrt is installed")


@pytest.fixture(autouse=True)
def serve_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports that nobody uses, whatever else runs on this machine."""
    for variable, port in own_ports().items():
        monkeypatch.setenv(variable, port)


@dataclass(frozen=True)
class Verdict:
    """The exit status, and what was written to stdout."""

    status: int
    text: str


class Doctor:
    """Runs the command with a configuration of one application."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._config = directory / "config.yaml"
        self._capsys = capsys

    def __call__(self, *options: str, port: int = 0, host: str = "127.0.0.1", **arguments: Any) -> Verdict:
        application = {"name": "amanuensis", "args": {"whisper_model": str(DEMO_MODEL), **arguments}}
        http = {"host": host, "port": port or free_port()}
        self._config.write_text(yaml.safe_dump({"http_options": http, "applications": [application]}))
        status = amanuensis("doctor", str(self._config), *options)
        return Verdict(status, self._capsys.readouterr().out)


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(tmp_path, capsys)


def test_a_machine_that_can_serve(doctor: Doctor) -> None:
    verdict = doctor()
    assert verdict.status == 0
    assert f"ok      model {DEMO_MODEL} in {DEMO_MODEL}\n" in verdict.text
    assert "of which 16 slots take 0." in verdict.text
    assert "ok      the encoder runs on the CPU" in verdict.text
    assert "FAILED" not in verdict.text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"whisper_model": "/nowhere"}, "FAILED  WHISPER_MODEL=/nowhere is no such directory"),
        ({"slots": 0}, "FAILED  Invalid settings: slots"),
        ({"slots": 10_000_000}, "lower AMANUENSIS_SLOTS, or enlarge it (docker: --shm-size)"),
        ({"shared_memory_dir": "/nowhere"}, "FAILED  shared_memory_dir /nowhere cannot be used"),
    ],
)
def test_what_would_stop_the_service_is_told_and_the_rest_is_checked(
    doctor: Doctor, arguments: dict[str, Any], told: str
) -> None:
    verdict = doctor(**arguments)
    assert verdict.status == 1
    assert verdict.text.count("FAILED") == 1
    assert told in verdict.text
    assert "is free, for HTTP\n" in verdict.text


def test_a_model_that_is_to_be_fetched_is_a_note(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    verdict = doctor(whisper_model="small")
    assert verdict.status == 0
    assert "NOTE    model small is not here: the service fetches it when it starts\n" in verdict.text
    assert "model small" not in doctor("--model", str(DEMO_MODEL), whisper_model="small").text


class TestPorts:
    def test_a_port_that_is_taken(self, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(asking, "ANSWER_S", 0.1)
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            verdict = doctor(port=port)
        assert verdict.status == 1
        assert f"FAILED  Port {port} of 127.0.0.1, for HTTP, is taken by process {os.getpid()} (" in verdict.text
        assert "http_options.port" in verdict.text

    def test_an_address_of_another_machine(self, doctor: Doctor) -> None:
        verdict = doctor(host="192.0.2.1")
        assert verdict.status == 1
        assert "of 192.0.2.1, for HTTP, cannot be used: Cannot assign requested address" in verdict.text

    def test_a_service_that_runs_already(self, doctor: Doctor) -> None:
        with scripted_service() as site:
            port = int(site.url.rpartition(":")[2])
            verdict = doctor(port=port)
        assert verdict.status == 0
        assert f"NOTE    port {port}: a service is running there\n" in verdict.text

    def test_the_other_ports_of_serve(self, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            monkeypatch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", str(port))
            verdict = doctor()
        assert verdict.status == 1
        assert f"FAILED  Port {port} of 127.0.0.1, for HAProxy's statistics, is taken by" in verdict.text
        assert "RAY_SERVE_HAPROXY_STATS_PORT" in verdict.text


def test_little_memory_and_few_cores_are_notes(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{2**30}\n")
    monkeypatch.setattr(machine, "CGROUP_LIMIT", limit)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    verdict = doctor()
    assert verdict.status == 0
    assert "NOTE    1.0 GiB of memory: with Whisper base the service needs 4 GiB\n" in verdict.text
    assert "NOTE    1 core" in verdict.text


class TestNpu:
    def test_a_simulated_device_is_well_and_says_that_it_is_simulated(self, doctor: Doctor) -> None:
        verdict = doctor("--simulator")
        assert verdict.status == 0
        assert "ok      known-answer GEMM in int8\n" in verdict.text
        assert "ok      encoder in bf16: cosine" in verdict.text
        assert "NOTE    the NPU is SIMULATED: this proves nothing about hardware\n" in verdict.text

    @without_pyxrt
    def test_a_missing_driver_is_never_replaced_by_the_simulator(self, doctor: Doctor, tmp_path: Path) -> None:
        verdict = doctor(device="npu")
        assert verdict.status == 1
        assert "FAILED  DriverMissingError" in verdict.text
        assert ". Next: " in verdict.text[: verdict.text.index("DriverMissingError")]
        assert doctor("--kernels", str(tmp_path)).status == 1

    def test_what_it_reads_of_the_machine_is_written_down(self, doctor: Doctor, tmp_path: Path) -> None:
        record = tmp_path / "machine.txt"
        verdict = doctor("--record", str(record))
        assert verdict.status == 0
        assert verdict.text.startswith(f"{record} holds what was read")
        assert diagnose(RecordedMachine(record.read_text(encoding="utf-8"))) == diagnose(LocalMachine())

    def test_kernels_that_do_not_fit_the_model_are_named(self, doctor: Doctor, tmp_path: Path) -> None:
        kernels = tmp_path / "kernels"
        kernels.mkdir()
        write_kernels(kernels, [KernelShape(128, 64, 256, "int8")])
        verdict = doctor("--simulator", "--kernels", str(kernels))
        assert verdict.status == 1
        assert "no int8 kernel fits K=192, N=576" in verdict.text
