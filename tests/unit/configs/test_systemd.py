"""The systemd unit: systemd takes it, and it stops the service as it must be stopped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from configparser import ConfigParser, SectionProxy
from pathlib import Path

import pytest

from deployments.shared.settings import Settings
from tests.support.paths import CONFIGS

UNIT = CONFIGS / "amanuensis.service"
COMMAND = "/opt/amanuensis/bin/amanuensis"


@pytest.fixture(scope="module")
def service() -> SectionProxy:
    unit = ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep the case of names
    unit.read(UNIT, "utf-8")
    return unit["Service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_it(tmp_path: Path) -> None:
    installed = tmp_path / UNIT.name
    installed.write_text(UNIT.read_text("utf-8").replace(COMMAND, sys.executable), "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(installed)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stop_reaches_the_launcher_alone_and_waits_for_the_draining(service: SectionProxy) -> None:
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > Settings.resolve({}).drain_timeout_s


def test_the_service_finds_its_directories(service: SectionProxy) -> None:
    variables = dict(variable.split("=") for variable in service["Environment"].split())
    assert variables == {"HOME": "%S/amanuensis", "XDG_CACHE_HOME": "%C/amanuensis", "XDG_STATE_HOME": "%S"}
    assert service["StateDirectory"] == service["CacheDirectory"] == "amanuensis"
    assert service["ExecStart"].split()[:2] == [COMMAND, "serve"]
