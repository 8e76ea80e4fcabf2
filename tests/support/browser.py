"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_S = 30.0
PORT_FILE = "DevToolsActivePort"
MAX_MESSAGE = 64 * 2**20

OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--remote-debugging-port=0",
)


def chromium() -> str | None:
    """Return the path of a Chromium; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path is not None), None)


class Page:
    """The page that a browser shows.

    Attributes:
        complaints: what went wrong in it: errors that no script caught, and what its policy forbade.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.complaints: list[str] = []
        self._connection = connection
        self._ids = itertools.count(1)
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Return what a method of the protocol gives."""
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=PATIENCE_S))
            if message.get("id") != number:
                self._note(message)
                continue
            if "error" in message:
                raise RuntimeError(f"{method}: {message['error']}")
            return message["result"]

    def open(self, url: str) -> None:
        """Show a page, and return when all of it is there."""
        self.complaints.clear()
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, of a promise that of its result."""
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait_for(self, expression: str, seconds: float = PATIENCE_S) -> Any:
        """Return the value of an expression as soon as it is truthy."""
        until = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < until, f"{expression} is still {value!r}; {self.complaints}"
            time.sleep(0.05)
        return value

    def choose_files(self, selector: str, *paths: Path) -> None:
        """Choose files in a control, as a user would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def press(self, key: str) -> None:
        """Press and release a key, such as ``Tab`` or ``ArrowDown``."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self) -> bytes:
        """Return what can be seen, as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _note(self, event: dict[str, Any]) -> None:
        if event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(str(event["params"]["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["source"] == "security":
            self.complaints.append(event["params"]["entry"]["text"])


@contextmanager
def browsing(microphone: Path | None = None, *options: str) -> Iterator[Page]:
    """Yield the page of a new browser, whose microphone hears a wav file once.

    Args:
        microphone: the file; None: what Chromium makes up.
        options: further ones of the command line.
    """
    path = chromium()
    assert path is not None, "there is no Chromium"
    heard = () if microphone is None else (f"--use-file-for-fake-audio-capture={microphone}%noloop",)
    with (
        tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as directory,
        _running([path, *OPTIONS, *heard, *options, f"--user-data-dir={directory}", "about:blank"]),
        connect(_address(Path(directory) / PORT_FILE), max_size=MAX_MESSAGE) as connection,
    ):
        page = Page(connection)
        yield page
        page.call("Browser.close")


@contextmanager
def _running(command: Sequence[str]) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
            process.wait(PATIENCE_S)
        finally:
            process.kill()


def _address(port_file: Path) -> str:
    """Return the address of the first page, once the browser has written its port."""
    until = time.monotonic() + PATIENCE_S
    while not (port_file.is_file() and port_file.read_text(encoding="utf-8").strip()):
        assert time.monotonic() < until, "Chromium does not start"
        time.sleep(0.05)
    port = port_file.read_text(encoding="utf-8").split()[0]
    targets = requests.get(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE_S).json()
    return str(next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page"))
