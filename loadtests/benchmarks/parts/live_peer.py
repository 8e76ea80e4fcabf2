"""WhisperLiveKit as a server of live text: started with the same model, and spoken to over its own protocol."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil

from loadtests.benchmarks.parts.live_speaker import LAST_TEXT_S, TRANSCRIPTION, Spoken, Stream, send_in_real_time
from loadtests.common.readiness import comes_up
from loadtests.common.service_process import free_port

NAME: Final = "WhisperLiveKit"
READY_S: Final = 180.0
ENDED_S: Final = 30.0
SETUP: Final = ("--backend", "faster-whisper", "--backend-policy", "localagreement", "--pcm-input", "--language", "en")
ITEM: Final = "all"
"""The one item that its whole text counts as."""


@contextmanager
def whisperlivekit(program: Path, model: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run ``whisperlivekit-server`` with a CTranslate2 model; give its base URL and its process.

    Raises:
        RuntimeError: it did not come up; with what it said.
    """
    port = free_port()
    command = [str(program), "--host", "127.0.0.1", "--port", str(port), *SETUP]
    with subprocess.Popen(
        [*command, "--model", "base", "--model_dir", str(model), "--warmup-file", ""],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            if not comes_up(url, READY_S, process):
                raise RuntimeError(f"{program} did not come up; start it by hand to see why: {' '.join(command)}")
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(ENDED_S)


async def speak(session: aiohttp.ClientSession, url: str, stream: Stream) -> Spoken:
    """Say a stream in real time; return what was told for good. What it shows and takes back is left out.

    Args:
        session: of all speakers.
        url: the base URL of the server.
        stream: what is said.
    """
    loop = asyncio.get_running_loop()
    spoken = Spoken()
    async with session.ws_connect(f"{url.replace('http', 'ws', 1)}/asr", max_msg_size=0) as socket:
        began = loop.time()
        listening = asyncio.create_task(_listen(socket, spoken, began))
        try:
            await send_in_real_time(socket, stream, began)
            await socket.send_bytes(b"")
            await asyncio.wait([listening], timeout=LAST_TEXT_S)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    return spoken


async def _listen(socket: aiohttp.ClientWebSocketResponse, spoken: Spoken, began: float) -> None:
    loop, told = asyncio.get_running_loop(), ""
    async for message in socket:
        if message.type != aiohttp.WSMsgType.TEXT:
            continue
        document = json.loads(message.data)
        if document.get("type") == "ready_to_stop":
            return
        text = committed(document)
        if text != told:
            for event in events_of(told, text):
                spoken.take(event, loop.time() - began)
            told = text


def committed(document: Mapping[str, Any]) -> str:
    """Return the text that the server has committed itself to."""
    return "".join(line["text"] or "" for line in document.get("lines", ()))


def events_of(before: str, text: str) -> list[dict[str, Any]]:
    """Return a change of the text as events: what is new as a delta, and the whole."""
    same = next((n for n, (one, other) in enumerate(zip(before, text, strict=False)) if one != other), len(before))
    return [
        {"type": f"{TRANSCRIPTION}delta", "item_id": ITEM, "delta": text[same:]},
        {"type": f"{TRANSCRIPTION}completed", "item_id": ITEM, "transcript": text},
    ]
