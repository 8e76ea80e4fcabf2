"""A service that speaks the protocol of ``amanuensis transcribe`` and answers as a test scripts it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SEGMENTS = [{"start": 0.5, "end": 1.25, "text": "Good day."}, {"start": 61.5, "end": 62.0, "text": "Sit <down>."}]
VERBOSE_JSON: dict[str, Any] = {
    "task": "transcribe",
    "language": "english",
    "duration": 63.0,
    "text": "Good day. Sit <down>.",
    "segments": SEGMENTS,
    "usage": {"type": "duration", "seconds": 63},
    "device": "cpu:test",
}
DELTAS = [
    {"type": "transcript.text.delta", "delta": "Good day.", "start": 0.0, "end": 30.0, "duration": 63.0},
    {"type": "transcript.text.delta", "delta": " Sit <down>.", "start": 30.0, "end": 63.0, "duration": 63.0},
]
DONE = {"type": "transcript.text.done", **VERBOSE_JSON}


@dataclass(frozen=True)
class Posted:
    """One request for audio, as it arrived."""

    path: str
    headers: Mapping[str, str]
    fields: dict[str, list[str]]
    filename: str
    audio: bytes


class Answer(BaseHTTPRequestHandler):
    """What a script writes its answer with."""

    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def refuse(self, status: int, code: str, message: str, **headers: str) -> None:
        """Answer with an error of OpenAI's shape."""
        self.whole(status, json.dumps({"error": {"code": code, "message": message}}).encode(), **headers)

    def whole(self, status: int, body: bytes, **headers: str) -> None:
        """Answer with a body that is there."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self, documents: Iterable[Mapping[str, Any]], *, ends: bool = True) -> None:
        """Answer with server-sent events; without an end the connection breaks behind them."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for document in documents:
            line = f"data: {json.dumps(document)}\n\n".encode()
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        if ends:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def do_GET(self) -> None:
        """Answer whether the service is there and knows the key."""
        if self.server.key and self.headers["authorization"] != f"Bearer {self.server.key}":
            self.refuse(401, "invalid_api_key", "this service needs an API key")
        else:
            self.whole(200, b"{}")

    def do_POST(self) -> None:
        """Answer as the script for this file says."""
        body = self.rfile.read(int(self.headers["content-length"]))
        posted = _parsed(self.path, self.headers, body)
        self.server.posted.append(posted)
        scripts = self.server.scripts.get(posted.filename, [])
        script = scripts.pop(0) if scripts else transcribe
        script(self)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Script = Callable[[Answer], None]


def transcribe(answer: Answer) -> None:
    """Answer as a service does that is well."""
    answer.events([*DELTAS, DONE])


@dataclass
class Site:
    """The running server.

    Attributes:
        url: of the server.
        key: that clients need, if any.
        scripts: by file name, one for each request; those without one are transcribed.
        posted: all requests for audio, in the order they came.
    """

    url: str = ""
    key: str = ""
    scripts: dict[str, list[Script]] = field(default_factory=dict)
    posted: list[Posted] = field(default_factory=list)


class ScriptedServer(ThreadingHTTPServer):
    """Gives handlers what a test says."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, site: Site) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self._site = site
        site.url = f"http://127.0.0.1:{self.server_port}"

    @property
    def key(self) -> str:
        return self._site.key

    @property
    def scripts(self) -> dict[str, list[Script]]:
        return self._site.scripts

    @property
    def posted(self) -> list[Posted]:
        return self._site.posted


@contextmanager
def scripted_service() -> Iterator[Site]:
    """A server for as long as the context lasts."""
    site = Site()
    with ScriptedServer(site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def _parsed(path: str, headers: Message, body: bytes) -> Posted:
    form = BytesParser().parsebytes(f"content-type: {headers['content-type']}\r\n\r\n".encode() + body)
    fields: dict[str, list[str]] = {}
    filename, audio = "", b""
    for part in form.get_payload():
        assert isinstance(part, Message)
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if part.get_filename() is None:
            fields.setdefault(name, []).append(content.decode())
        else:
            filename, audio = str(part.get_filename()), content
    return Posted(path, {name.lower(): value for name, value in headers.items()}, fields, filename, audio)
