"""Real HAProxies that are killed, with a dummy manager and a dummy raylet."""

import tempfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from deployments.haproxy.home import EVENTS, STOPPING, Home
from loadtests.common.service_process import free_port
from tests.support import threaded_server
from tests.support.haproxy import Node, Raylet, of_node, raylet
from tests.support.soon import soon


class Replica(BaseHTTPRequestHandler):
    """Answers everything, Serve's checks too."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def replica() -> Iterator[int]:
    """The port of a replica."""
    with threaded_server.answering(Replica) as url:
        yield urlsplit(url).port or 0


@pytest.fixture
def ray() -> Iterator[Raylet]:
    with raylet() as dummy:
        yield dummy


@pytest.fixture
def node() -> Iterator[Node]:
    with tempfile.TemporaryDirectory() as directory:  # pytest's own are too long for a socket's path
        found = Node(Path(directory), free_port())
        yield found
        (Path(directory) / STOPPING).touch()
        for process in of_node(found):
            process.kill()


def answers(node: Node) -> bool:
    try:
        with requests.Session() as session:
            return session.get(f"http://127.0.0.1:{node.port}/x", timeout=2).text == "ok"
    except requests.RequestException:
        return False


def test_a_killed_haproxy_is_started_again_without_its_manager(node: Node, ray: Raylet, replica: int) -> None:
    node.write_config(replica)
    haproxy = ray.start_manager(node)
    assert soon(lambda: answers(node))
    haproxy.kill()
    assert soon(lambda: not haproxy.is_running())
    assert soon(lambda: answers(node))
    running = Home(node.config).running()
    assert running is not None
    assert running.socket != Path(node.config.with_name("a")), "the manager must notice that its own HAProxy is gone"
    assert "started at once" in (node.config.parents[1] / EVENTS).read_text()


def test_the_next_manager_takes_over_and_keeps_the_routes(node: Node, ray: Raylet, replica: int) -> None:
    node.write_config(replica)
    first = ray.start_manager(node)
    assert soon(lambda: answers(node))
    psutil.Process(first.ppid()).kill()
    assert answers(node), "a HAProxy whose manager died goes on"
    node.write_config()  # the new manager has not heard from the controller
    second = ray.start_manager(node)
    while first.is_running() and first.status() != psutil.STATUS_ZOMBIE:
        assert answers(node), "there is no moment without an answer"
    assert second.is_running()
    assert answers(node)


def test_nothing_outlives_the_raylet(node: Node, ray: Raylet, replica: int) -> None:
    node.write_config(replica)
    ray.start_manager(node)
    assert soon(lambda: answers(node))
    assert len(of_node(node)) == 2, "HAProxy and its guard"
    ray.process.kill()
    ray.process.wait()
    assert soon(lambda: not of_node(node))


def test_a_service_that_stops_is_left_to_stop(node: Node, ray: Raylet, replica: int) -> None:
    node.write_config(replica)
    haproxy = ray.start_manager(node)
    assert soon(lambda: answers(node))
    (node.config.parents[1] / STOPPING).touch()
    haproxy.kill()
    assert soon(lambda: not of_node(node))
    assert not answers(node)


def test_before_any_route_is_known_clients_are_told_to_try_again(node: Node, ray: Raylet) -> None:
    node.write_config()
    ray.start_manager(node)
    assert soon(lambda: bool(psutil.net_connections("tcp")) and _status(node) == 503)
    answer = requests.get(f"http://127.0.0.1:{node.port}/v1/models", timeout=2)
    assert answer.json()["error"]["code"] == "service_unavailable"
    assert int(answer.headers["retry-after"]) > 0


def test_so_are_they_when_no_replica_can_be_reached(node: Node, ray: Raylet) -> None:
    node.write_config(free_port())
    ray.start_manager(node)
    assert soon(lambda: _status(node) == 503)
    answer = requests.get(f"http://127.0.0.1:{node.port}/v1/models", timeout=10)
    assert answer.json()["error"]["type"] == "server_error"


def _status(node: Node) -> int:
    try:
        return requests.get(f"http://127.0.0.1:{node.port}/v1/models", timeout=10).status_code
    except requests.RequestException:
        return 0
