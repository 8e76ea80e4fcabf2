"""What ``make serve`` says when the service is ready."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import yaml

from deployments.commands.configuration import read_configuration
from deployments.commands.serve import _devices, _welcome
from tests.support import threaded_server
from tests.support.command_line import amanuensis
from tests.support.paths import DEMO_MODEL

MODELS_OF_TWO = {"amanuensis": str(DEMO_MODEL), "second": "/nowhere"}
HEALTH = {"model": "demo-en", "device": "cpu:test", "notice": "only synthetic English"}


@contextmanager
def answering(status: int, document: object) -> Iterator[str]:
    """A server that gives every request the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with threaded_server.answering(Handler) as url:
        yield url


def write_config(directory: Path, *applications: Mapping[str, object]) -> Path:
    config = directory / "serve_config.yaml"
    config.write_text(yaml.safe_dump({"applications": list(applications)}))
    return config


def test_ray_is_started_with_a_device_for_every_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AMANUENSIS_ENCODER_REPLICAS", raising=False)
    three = {"name": "a", "args": {"encoder_replicas": 2}}, {"name": "b", "args": {}}, {"name": "c"}
    assert _devices(read_configuration(write_config(tmp_path, *three))) == 4
    monkeypatch.setenv("AMANUENSIS_ENCODER_REPLICAS", "3")
    assert _devices(read_configuration(write_config(tmp_path, {"name": "a"}))) == 3


def test_a_bad_setting_is_told_before_ray_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, {"name": "amanuensis", "args": {"slots": 0}})
    assert amanuensis("serve", str(config)) == 1
    assert "slots" in capsys.readouterr().err


def test_a_model_that_cannot_be_had_is_told_before_ray_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_ray(**_: object) -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr("ray.init", start_ray)
    monkeypatch.delenv("WHISPER_MODEL", raising=False)
    applications = ({"name": name, "args": {"whisper_model": model}} for name, model in MODELS_OF_TWO.items())
    assert amanuensis("serve", str(write_config(tmp_path, *applications))) == 1
    told = capsys.readouterr().err
    assert told.startswith("Error: WHISPER_MODEL=/nowhere is no such directory")
    assert told.count("\n") == 1


def test_an_open_service_tells_its_model() -> None:
    with answering(200, HEALTH) as url:
        welcome = _welcome(url, None)
    assert "model demo-en, encoder on cpu:test" in welcome
    assert "note: only synthetic English" in welcome
    assert "Authorization" not in welcome


def test_a_service_with_keys_tells_that_one_is_needed() -> None:
    with answering(401, {"error": {}}) as url:
        welcome = _welcome(url, None)
    assert welcome.startswith(f"ready: {url}\n")
    assert "curl" in welcome
    assert "-H 'Authorization: Bearer KEY'" in welcome


def test_it_tells_where_ray_s_dashboard_is() -> None:
    with answering(200, HEALTH) as url:
        last = _welcome(url, "127.0.0.1:8265").splitlines()[-1]
    assert "http://127.0.0.1:8265" in last
    assert last.endswith("/ray get-auth-token")
