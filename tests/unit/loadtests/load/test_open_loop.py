"""The open loop counts every request once, whatever becomes of it."""

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loadtests.load.open_loop import Ask, offer, post

AUDIO = bytes(300_000)


class Handler(BaseHTTPRequestHandler):
    """Answers, refuses before it has read the body, or hangs up, as the path says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if self.path == "/gone":
            self.close_connection = True
            return
        if self.path == "/refused":
            self.close_connection = True
            self._answer(503, b'{"error": {"code": "overloaded"}}', {"Retry-After": "7"})
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/ok":
            assert AUDIO in body
            self._answer(200, b'{"text": "yes"}', {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_every_request_meets_one_end(url: str) -> None:
    asks = [Ask(path, post(url, path, AUDIO, {"x-priority": "low"})) for path in ("/ok", "/refused", "/gone")]
    result = offer(url, asks, rate=30, seconds=1)
    ends = Counter((answer.kind, answer.status, answer.has_retry_after) for answer in result.answers)
    assert ends == {("/ok", 200, False): 10, ("/refused", 503, True): 10, ("/gone", 0, False): 10}
    assert {answer.code for answer in result.answers if answer.status == 503} == {"overloaded"}
    assert all(answer.code for answer in result.answers if answer.status == 0)
    assert all(answer.seconds > 0 for answer in result.answers)
    assert result.lags_s
    assert result.cpu_share > 0
