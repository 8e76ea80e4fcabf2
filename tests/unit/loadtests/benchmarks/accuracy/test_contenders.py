"""The clients of the accuracy benchmark, against a server that notes what it is sent."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from loadtests.benchmarks.accuracy.contenders import ServiceContender, Transcription
from loadtests.common.replies import NO_ANSWER
from loadtests.common.service_process import free_port

REFUSAL = {"error": {"code": "overloaded", "message": "Come back later."}}
ANSWERS = {
    "text.wav": (200, json.dumps({"text": "Hello.", "language": "german"})),
    "silent.wav": (200, json.dumps({"text": ""})),
    "refused.wav": (503, json.dumps(REFUSAL)),
    "proxy.wav": (502, "<html>no server</html>"),
}


class Server(ThreadingHTTPServer):
    """Answers by file name; holds the first requests back until so many are there at once."""

    def __init__(self, together: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.meeting = threading.Barrier(together, timeout=30)
        self.bodies: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    """One upload."""

    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(body)
        self.server.meeting.wait()
        status, text = next(answer for name, answer in ANSWERS.items() if name.encode() in body)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def serving(together: int) -> Iterator[tuple[Server, str]]:
    with Server(together) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ask(service: ServiceContender, directory: Path, *files: str) -> dict[str, Transcription]:
    for file in files:
        (directory / file).write_bytes(b"RIFF")
    answers: dict[str, Transcription] = {}
    service.transcribe(directory, files, answers.__setitem__)
    return answers


def test_every_kind_of_answer_is_noted(tmp_path: Path) -> None:
    with serving(1) as (_, url):
        answers = ask(ServiceContender(url, 1), tmp_path, *ANSWERS)
    noted = {file: (answer.status, answer.code, answer.text, answer.language) for file, answer in answers.items()}
    assert noted == {
        "text.wav": (200, "", "Hello.", "de"),
        "silent.wav": (200, "", "", ""),
        "refused.wav": (503, "overloaded", "", ""),
        "proxy.wav": (502, "proxy_page", "", ""),
    }
    assert all(answer.seconds > 0 for answer in answers.values())


def test_so_many_clients_ask_at_once(tmp_path: Path) -> None:
    with serving(4) as (server, url):
        answers = ask(ServiceContender(url, 4, "verbose_json"), tmp_path, *ANSWERS)
    assert set(answers) == set(ANSWERS)
    assert all(b"verbose_json" in body for body in server.bodies)


def test_no_server_is_no_answer(tmp_path: Path) -> None:
    (answer,) = ask(ServiceContender(f"http://127.0.0.1:{free_port()}", 1), tmp_path, "text.wav").values()
    assert (answer.status, answer.code, answer.text) == (NO_ANSWER, "ClientConnectorError", "")


def test_a_run_is_named_after_its_clients_and_format() -> None:
    assert ServiceContender("", 1).name == "service, 1 client"
    assert ServiceContender("", 16, "verbose_json").name == "service, 16 clients, verbose_json"
