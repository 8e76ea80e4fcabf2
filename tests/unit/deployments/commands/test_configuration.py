"""Which configuration is served, and what is wrong with one that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from ray.serve.schema import DeploymentSchema, HTTPOptionsSchema, ServeApplicationSchema, ServeDeploySchema

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
        "applications: [{name: one, args: {slots: 4, max_windows_in_flight: 2}}, {name: two}]\n"
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
        (b"applications: [{name: one, args: }]", "args of the application one must be settings"),
        (b"applications: [{name: one, args: [slots, 8]}]", "args of the application one must be settings"),
        (b"applications: [{name: one, args: slots}]", "args of the application one must be settings"),
        (b"applications: [one]", "no list `applications`"),
    ],
)
def test_what_is_none_is_refused_with_its_name(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason) as refused:
        read_configuration(file)
    assert str(refused.value).startswith(f"{file} is no configuration of Ray Serve: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("aplications: []\napplications: [{}]", "aplications is not a key of the file (did you mean applications?)"),
        ("application: [{}]", "application is not a key of the file (did you mean applications?)"),
        ("{http_option: {port: 1}, applications: [{}]}", "http_option is not a key of the file (did you mean http_op"),
        ("{http_options: {prot: 1}, applications: [{}]}", "prot is not a key of http_options (did you mean port?)"),
        ("applications: [{arg: {slots: 4}}]", "arg is not a key of an application (did you mean args?)"),
        (
            "applications: [{route-prefix: /a}]",
            "route-prefix is not a key of an application (did you mean route_prefix",
        ),
        ("applications: [{deployments: [{nam: Ingress}]}]", "nam is not a key of a deployment (did you mean name?)"),
        ("{1: 2, applications: [{}]}", "1 is not a key of the file"),
    ],
)
def test_a_misspelt_key_is_named_with_the_one_that_was_meant(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(ConfigurationError) as refused:
        read_configuration(file)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("known", "schema"),
    [
        (configuration.KEYS, ServeDeploySchema),
        (configuration.HTTP_KEYS, HTTPOptionsSchema),
        (configuration.APPLICATION_KEYS, ServeApplicationSchema),
        (configuration.DEPLOYMENT_KEYS, DeploymentSchema),
    ],
)
def test_the_known_keys_are_those_of_ray_serve(known: tuple[str, ...], schema: type[BaseModel]) -> None:
    assert sorted(known) == sorted(schema.model_fields)


OURS = [path for path in sorted(CONFIGS.glob("*.yaml")) if path.name != "kubernetes-cpu.yaml"]
"""All but the one that Kubernetes reads and Ray Serve does not."""


@pytest.mark.parametrize("file", [ROOT / "serve_config.yaml", *OURS], ids=lambda path: path.name)
def test_our_own_configurations_have_no_misspelt_key(file: Path) -> None:
    if file.name == "kubernetes-rayservice.yaml":
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert not list(configuration._problems(yaml.safe_load(document["spec"]["serveConfigV2"])))
    else:
        read_configuration(file)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_configuration(tmp_path / "nowhere.yaml")
