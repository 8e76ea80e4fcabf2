"""Requests in the forms that HTTP allows, byte by byte on a real socket with uvicorn's parser in front."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deployments.ingress.http.routes import PUBLIC, create_app
from tests.support.asgi import AUDIO, END, FORM, MULTIPART
from tests.support.http_service import service
from tests.support.listening import listening
from tests.support.scripted_stages import ScriptedStages

BODY = FORM + END
POST = f"POST {AUDIO} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {MULTIPART}\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    directory: Path = tmp_path_factory.mktemp("shm")
    with listening(create_app(service(ScriptedStages(), directory))) as url:
        parts = urlsplit(url)
        yield parts.hostname or "", parts.port or 0


def answer(connection: socket.socket, method: str = "POST") -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    return response


def test_a_chunked_body_is_read_to_its_end(address: tuple[str, int]) -> None:
    chunks = [b"%x\r\n%b\r\n" % (len(BODY[i : i + 7]), BODY[i : i + 7]) for i in range(0, len(BODY), 7)]
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(f"{POST}transfer-encoding: chunked\r\n\r\n".encode())
        for chunk in (*chunks, b"0\r\n\r\n"):
            connection.sendall(chunk)
        assert answer(connection).status == 200


def test_a_client_that_waits_for_leave_to_send_gets_it(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(f"{POST}content-length: {len(BODY)}\r\nexpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(len(CONTINUE)) == CONTINUE
        connection.sendall(BODY)
        assert answer(connection).status == 200


def test_a_client_that_waits_for_leave_is_refused_before_it_sends(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(f"{POST}content-length: {10**12}\r\nexpect: 100-continue\r\n\r\n".encode())
        assert answer(connection).status == 413


def test_http_1_0_is_answered_and_its_connection_ends(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(POST.replace("1.1", "1.0").encode() + f"content-length: {len(BODY)}\r\n\r\n".encode() + BODY)
        response = answer(connection)
        assert (response.status, response.read()[:8]) == (200, b'{"text":')
        assert connection.recv(1) == b""


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/whisper-1", "/health", *(route.path for route in PUBLIC)])
def test_head_says_what_get_would_send(address: tuple[str, int], path: str) -> None:
    def ask(method: str) -> tuple[int, str | None, str | None, bytes]:
        with closing(http.client.HTTPConnection(*address, timeout=10)) as connection:
            connection.request(method, path)
            response = connection.getresponse()
            length, kind = response.getheader("content-length"), response.getheader("content-type")
            return response.status, length, kind, response.read()

    *head, nothing = ask("HEAD")
    *get, body = ask("GET")
    assert head == get
    assert nothing == b""
    assert body


@pytest.mark.parametrize(("path", "allowed"), [(AUDIO, {"POST"}), ("/v1/models", {"GET", "HEAD"})])
def test_options_says_which_methods_a_route_has(address: tuple[str, int], path: str, allowed: set[str]) -> None:
    with closing(http.client.HTTPConnection(*address, timeout=10)) as connection:
        connection.request("OPTIONS", path)
        response = connection.getresponse()
        assert response.status == 405
        assert set((response.getheader("allow") or "").split(", ")) == allowed
        response.read()
