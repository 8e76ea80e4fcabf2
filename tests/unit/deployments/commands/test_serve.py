"""What ``amanuensis serve`` refuses before Ray starts, as its user meets it."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from deployments.commands.launch.ports import INNER_PORTS
from loadtests.common.service_process import free_port, own_ports
from tests.support.paths import DEMO_MODEL, ROOT

MODELS_OF_TWO = {"amanuensis": str(DEMO_MODEL), "second": "/nowhere"}
APPLICATION = {"name": "amanuensis", "args": {"whisper_model": str(DEMO_MODEL)}}


def write_config(directory: Path, *applications: Mapping[str, object], **http: object) -> Path:
    config = directory / "serve_config.yaml"
    options = {"host": "127.0.0.1", "port": free_port(), **http}
    config.write_text(yaml.safe_dump({"http_options": options, "applications": list(applications)}))
    return config


def refusal(config: Path, arguments: Sequence[str] = (), **environment: str) -> str:
    """The one line that a start ends with, whose status is 1."""
    command = [sys.executable, "-m", "deployments.commands.main", "serve", str(config), *arguments]
    ours = {name: value for name, value in os.environ.items() if name != "WHISPER_MODEL"}
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env={**ours, **own_ports(), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "starting Ray" not in ended.stdout
    assert "Traceback" not in ended.stderr
    (line,) = (line for line in ended.stderr.splitlines() if not line.startswith("WARNING"))
    return line


def test_a_bad_setting_is_told_before_ray_starts(tmp_path: Path) -> None:
    assert "slots" in refusal(write_config(tmp_path, {"name": "amanuensis", "args": {"slots": 0}}))


def test_a_model_that_cannot_be_had_is_told_before_ray_starts(tmp_path: Path) -> None:
    applications = ({"name": name, "args": {"whisper_model": model}} for name, model in MODELS_OF_TWO.items())
    told = refusal(write_config(tmp_path, *applications))
    assert told.startswith("Error: WHISPER_MODEL=/nowhere is no such directory")


def test_a_taken_port_is_told_with_the_process_that_holds_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = refusal(write_config(tmp_path, APPLICATION, port=port))
    assert f"Port {port} of 127.0.0.1, for HTTP, is taken by process {os.getpid()} (" in told
    assert "http_options.port" in told


@pytest.mark.parametrize("variable", INNER_PORTS)
def test_so_is_every_other_port(tmp_path: Path, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = refusal(write_config(tmp_path, APPLICATION), **{variable: str(port)})
    assert f"Port {port} " in told
    assert f"process {os.getpid()}" in told
    assert variable in told


def test_a_port_that_needs_rights_or_is_no_port_is_told(tmp_path: Path) -> None:
    told = refusal(write_config(tmp_path, APPLICATION), RAY_SERVE_HAPROXY_STATS_PORT="http")
    assert told == "Error: RAY_SERVE_HAPROXY_STATS_PORT must be the number of a port, not 'http'"


def test_a_host_that_is_none_is_told(tmp_path: Path) -> None:
    assert "no.such.host.invalid" in refusal(write_config(tmp_path, APPLICATION, host="no.such.host.invalid"))


def test_other_machines_are_not_let_in_without_ray_s_token(tmp_path: Path) -> None:
    told = refusal(write_config(tmp_path, APPLICATION, host="0.0.0.0"), RAY_AUTH_MODE="disabled")
    assert "RAY_AUTH_MODE must be token" in told


@pytest.mark.parametrize("directory", ["/nowhere", "/proc"])
def test_a_shared_memory_that_cannot_be_used_is_told(tmp_path: Path, directory: str) -> None:
    arguments = {"whisper_model": str(DEMO_MODEL), "shared_memory_dir": directory}
    told = refusal(write_config(tmp_path, {"name": "amanuensis", "args": arguments}))
    assert "shared_memory_dir" in told
