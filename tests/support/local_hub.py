"""A model hub on this machine: as much of its HTTP interface as the hub's own client needs to download a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest

from tests.support.threaded_server import answering

SHA = "5" * 40
LARGE = ".bin"


@dataclass
class LocalHub:
    """What the hub has and what it was asked.

    Attributes:
        files: repository -> file name -> content.
        corrupts: the file that it delivers with its first byte changed.
        refuses: whether its repositories are gated.
        requests: the paths of all requests.
        tokens: their ``Authorization`` headers.
    """

    files: dict[str, Mapping[str, bytes]]
    corrupts: str = ""
    refuses: bool = False
    requests: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a GET."""
        if self.refuses:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if path.startswith("/api/models/"):
            return self._about(path.removeprefix("/api/models/").split("/revision/")[0])
        repository, _, file = path.strip("/").partition("/resolve/")
        name = file.partition("/")[2]
        content = self.files[repository][name]
        etag = hashlib.sha256(content).hexdigest()
        if name == self.corrupts:
            content = bytes([content[0] ^ 1]) + content[1:]
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": SHA}, content

    def _about(self, repository: str) -> tuple[int, dict[str, str], bytes]:
        files = self.files.get(repository)
        if files is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        siblings = [_sibling(name, content) for name, content in files.items()]
        document = {"id": repository, "sha": SHA, "siblings": siblings, "tags": [], "private": False, "downloads": 0}
        return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()


def _sibling(name: str, content: bytes) -> dict[str, object]:
    about: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
    if name.endswith(LARGE):
        about["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return about


@contextmanager
def serving(files: dict[str, Mapping[str, bytes]], monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """Start a hub with these files and point the hub's client at it."""
    hub = LocalHub(dict(files))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.requests.append(self.path)
            hub.tokens.append(self.headers.get("Authorization"))
            path = self.path.partition("?")[0]
            status, headers, body = hub.answer(path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815  (http.server's name)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with answering(Handler) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(
            "huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE",
            url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield hub


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbid the hub's client the network, as ``HF_HUB_OFFLINE=1`` does."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
