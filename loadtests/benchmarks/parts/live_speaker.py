"""One live speaker: streams recordings over a WebSocket in real time, and notes when which text comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from loadtests.common.clips import Clip
from loadtests.common.wav import RATE, SAMPLE_BYTES, pcm_of_wav, seconds_of

PATH = "/v1/realtime?intent=transcription"
PIECE_S = 0.1
PIECE = round(SAMPLE_BYTES * RATE * PIECE_S)
SILENCE_S = 1.5
SILENCE = bytes(round(SAMPLE_BYTES * RATE * SILENCE_S))
"""Between two recordings: long enough to end an utterance, as a speaker's pause is."""

LAST_TEXT_S = 60.0
"""Seconds that the texts of what was said may take after the end of the stream."""

START = {
    "type": "session.update",
    "session": {"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcm", "rate": RATE}}}},
}
TRANSCRIPTION = "conversation.item.input_audio_transcription."


@dataclass(frozen=True)
class Stream:
    """What one speaker says.

    Attributes:
        clips: one after the other.
        pcm: their samples, each with silence behind it.
        starts_s: where each begins, in seconds.
    """

    clips: tuple[Clip, ...]
    pcm: bytes
    starts_s: tuple[float, ...]

    @classmethod
    def of(cls, clips: Sequence[Clip], first: int, seconds: float) -> Stream:
        """Return a stream of at least ``seconds``: whole clips, round and round from number ``first`` on."""
        chosen, pcm, starts_s = list[Clip](), b"", list[float]()
        while seconds_of(pcm) < seconds:
            clip = clips[(first + len(chosen)) % len(clips)]
            chosen.append(clip)
            starts_s.append(seconds_of(pcm))
            pcm += pcm_of_wav(clip.wav) + SILENCE
        return cls(tuple(chosen), pcm, tuple(starts_s))


@dataclass
class Spoken:
    """What a session told.

    Attributes:
        deltas: each text, and the seconds from the start of the stream until it came.
        last_deltas: those that came with the whole text of their utterance.
        errors: codes of utterances that failed, and of the session.
    """

    deltas: list[tuple[str, float]] = field(default_factory=list)
    last_deltas: list[tuple[str, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _items: dict[str, str] = field(default_factory=dict)
    _untold: set[str] = field(default_factory=set)
    _stopped: set[str] = field(default_factory=set)

    @property
    def text(self) -> str:
        """All that was told, in the order in which it was said."""
        return " ".join(filter(None, self._items.values()))

    @property
    def tells_turns(self) -> bool:
        """Whether it was told when an utterance had ended."""
        return bool(self._stopped)

    @property
    def is_complete(self) -> bool:
        """Whether every utterance has its text."""
        return not self._untold

    def take(self, event: dict[str, Any], at_s: float) -> None:
        """Note an event that came at ``at_s``."""
        kind = event["type"].removeprefix(TRANSCRIPTION).removeprefix("input_audio_buffer.")
        if kind == "speech_started":
            self._items[event["item_id"]] = ""
            self._untold.add(event["item_id"])
        elif kind == "delta":
            self.deltas.append((event["delta"], at_s))
            if event["item_id"] in self._stopped:
                self.last_deltas.append((event["delta"], at_s))
        elif kind == "committed":
            self._stopped.add(event["item_id"])
        elif kind == "completed":
            self._items[event["item_id"]] = event["transcript"]
            self._untold.discard(event["item_id"])
        elif kind in {"failed", "error"}:
            self.errors.append(event["error"]["code"])
            self._untold.discard(event.get("item_id", ""))


async def speak(session: aiohttp.ClientSession, url: str, stream: Stream) -> Spoken:
    """Say a stream in real time; return what was told.

    Args:
        session: of all speakers.
        url: the base URL of the service.
        stream: what is said.
    """
    spoken, loop = Spoken(), asyncio.get_running_loop()
    async with session.ws_connect(f"{url.replace('http', 'ws', 1)}{PATH}", max_msg_size=0) as socket:
        await socket.send_json(START)
        began = loop.time()
        listening = asyncio.create_task(_listen(socket, spoken, began))
        try:
            await send_in_real_time(socket, stream, began)
            until = loop.time() + LAST_TEXT_S
            while not (spoken.is_complete or listening.done()) and loop.time() < until:  # noqa: ASYNC110
                await asyncio.sleep(PIECE_S)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    if not spoken.is_complete:
        spoken.errors.append("no text in time")
    return spoken


async def send_in_real_time(socket: aiohttp.ClientWebSocketResponse, stream: Stream, began: float) -> None:
    """Send a stream as fast as it is spoken, from ``began`` on, in seconds of the running loop's clock."""
    loop = asyncio.get_running_loop()
    for number, first in enumerate(range(0, len(stream.pcm), PIECE), start=1):
        # A piece can be sent when it has been spoken to its end.
        await asyncio.sleep(began + number * PIECE_S - loop.time())
        await socket.send_bytes(stream.pcm[first : first + PIECE])


async def _listen(socket: aiohttp.ClientWebSocketResponse, spoken: Spoken, began: float) -> None:
    loop = asyncio.get_running_loop()
    async for message in socket:
        if message.type == aiohttp.WSMsgType.TEXT:
            spoken.take(json.loads(message.data), loop.time() - began)
