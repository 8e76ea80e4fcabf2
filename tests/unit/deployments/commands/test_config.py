"""``amanuensis config``: the files that come with the service, in the source tree and in the wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.commands import config, configuration
from tests.support.command_line import amanuensis
from tests.support.paths import CONFIGS, ROOT


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("serve_config.yaml", ROOT / "serve_config.yaml"),
        ("cpu-8-cores.yaml", CONFIGS / "cpu-8-cores.yaml"),
        ("grafana/dashboard.json", CONFIGS / "grafana" / "dashboard.json"),
    ],
)
def test_a_file_is_printed_as_it_is(name: str, path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert amanuensis("config", name) == 0
    assert capsysbinary.readouterr().out == path.read_bytes()


def test_without_a_name_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis("config") == 0
    listed = capsys.readouterr().out.splitlines()
    assert set(listed) == {"serve_config.yaml"} | {
        str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*") if path.is_file()
    }


def test_a_name_that_is_none_of_them_is_told_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert amanuensis("config", "cpu-9-cores.yaml") == 1
    assert "cpu-8-cores.yaml" in capsys.readouterr().err


def test_in_the_wheel_they_lie_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "deployments"
    (package / "configs").mkdir(parents=True)
    (package / "configs" / "small.yaml").touch()
    (package / "serve_config.yaml").touch()
    for module in (config, configuration):
        monkeypatch.setattr(module, "PACKAGE", package)
    assert config.shipped_files() == {
        "serve_config.yaml": package / "serve_config.yaml",
        "small.yaml": package / "configs" / "small.yaml",
    }
