"""The open loop counts every request once, whatever becomes of it."""

from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from loadtests.common.client import PATH, make_upload
from loadtests.load.open_loop import offer, prepare
from tests.support.threaded_server import answering

AUDIO = bytes(300_000)
OK, REFUSED, GONE = "/ok", "/refused", "/gone"


class Handler(BaseHTTPRequestHandler):
    """Answers, refuses before it has read the body, or hangs up, as the path says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        route = self.path.removesuffix(PATH)
        if route == GONE:
            self.close_connection = True
            return
        if route == REFUSED:
            self.close_connection = True
            self._answer(503, b'{"error": {"code": "overloaded"}}', {"Retry-After": "7"})
        body = self.rfile.read(int(self.headers["content-length"]))
        if route == OK:
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
    with answering(Handler) as address:
        yield address


def test_every_request_meets_one_end(url: str) -> None:
    upload = make_upload(AUDIO, priority="low")
    requests = [prepare(route, f"{url}{route}", upload) for route in (OK, REFUSED, GONE)]
    result = offer(url, requests, rate=30, seconds=1)
    ends = Counter((one.kind, one.reply.outcome, one.reply.status, one.reply.retry_after_s) for one in result.arrivals)
    assert ends == {(OK, "right", 200, None): 10, (REFUSED, "refused", 503, 7.0): 10, (GONE, "no answer", 0, None): 10}
    assert {one.reply.code for one in result.arrivals if one.kind == REFUSED} == {"overloaded"}
    assert all(one.reply.code for one in result.arrivals if one.kind == GONE)
    assert all(one.seconds > 0 for one in result.arrivals)
    assert result.lags_s
    assert result.cpu_share > 0
