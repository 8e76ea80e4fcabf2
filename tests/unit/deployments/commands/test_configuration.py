"""Which configuration is served, and what is wrong with one that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.commands import configuration
from deployments.commands.configuration import read_configuration
from deployments.shared.errors import ConfigurationError
from tests.support.paths import CONFIGS, ROOT

ONE = "applications: [{name: one}]\n"


def test_the_configuration_of_this_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_configuration(None).path == ROOT / "serve_config.yaml"
    (tmp_path / "serve_config.yaml").write_text(ONE)
    assert read_configuration(None).path == tmp_path / "serve_config.yaml"
    assert read_configuration(CONFIGS / "cpu-8-cores.yaml").path == CONFIGS / "cpu-8-cores.yaml"


def test_an_installed_package_brings_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "deployments"
    package.mkdir(parents=True)
    (package / "serve_config.yaml").write_text(ONE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(configuration, "PACKAGE", package)
    assert read_configuration(None).path == package / "serve_config.yaml"


def test_it_says_where_the_service_is_and_what_is_served(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "http_options: {host: 0.0.0.0, port: 9001}\n"
        "applications: [{name: one, args: {slots: 4, max_windows_in_flight: 2}}, {name: two, args: }]\n"
    )
    config = read_configuration(file)
    assert config.url == "http://localhost:9001"
    assert list(config.arguments) == ["one", "two"]
    assert [settings.slots for settings in config.settings()] == [4, 16]


def test_what_it_leaves_out_is_as_in_serve(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("applications: [{import_path: deployments.app:build}]\n")
    config = read_configuration(file)
    assert (config.url, list(config.arguments)) == ("http://localhost:8000", ["default"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"applications: [", "while parsing"),
        (b"\xff\xfe\x00", "codec can't decode"),
        (b"spec: {}", "no list `applications`"),
        (b"applications: 3", "no list `applications`"),
        (b"just words", "no list `applications`"),
        (b"", "no list `applications`"),
        (b"applications: []", "lists no application"),
    ],
)
def test_what_is_none_is_refused_with_its_name(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason) as refused:
        read_configuration(file)
    assert str(refused.value).startswith(f"{file} is no configuration of Ray Serve: ")
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_configuration(tmp_path / "nowhere.yaml")
