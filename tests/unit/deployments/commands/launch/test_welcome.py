"""What ``amanuensis serve`` says when the service is ready."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from deployments.commands.configuration import Configuration
from deployments.commands.launch.welcome import warnings, welcome
from tests.support import threaded_server

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


def configuration(host: str, **arguments: object) -> Configuration:
    return Configuration(Path("serve_config.yaml"), host, 9000, {"amanuensis": arguments}, {"amanuensis": "/"})


def test_an_open_service_tells_its_model() -> None:
    with answering(200, HEALTH) as url:
        told = welcome(url, "")
    assert "model demo-en, encoder on cpu:test" in told
    assert "note: only synthetic English" in told
    assert "Authorization" not in told
    assert f"open:  {url}/ " in told


def test_a_service_with_keys_tells_that_one_is_needed() -> None:
    with answering(401, {"error": {}}) as url:
        told = welcome(url, "")
    assert told.startswith(f"ready: {url}\n")
    assert "curl" in told
    assert "-H 'Authorization: Bearer KEY'" in told


def test_an_environment_with_a_proxy_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with answering(200, HEALTH) as url:
        assert "model demo-en" in welcome(url, "")


def test_it_tells_where_ray_s_dashboard_is() -> None:
    with answering(200, HEALTH) as url:
        last = welcome(url, "127.0.0.1:8265").splitlines()[-1]
    assert "http://127.0.0.1:8265" in last
    assert last.endswith("/ray get-auth-token")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_it_says_loudly_that_everybody_may_call(host: str) -> None:
    (warning,) = warnings(configuration(host))
    assert host in warning
    assert "amanuensis keys add" in warning


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_it_says_nothing_where_only_this_machine_can(host: str) -> None:
    assert not list(warnings(configuration(host)))


def test_nor_where_there_are_keys() -> None:
    assert not list(warnings(configuration("0.0.0.0", api_keys_file="/etc/keys")))
