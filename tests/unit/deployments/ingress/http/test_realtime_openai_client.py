"""OpenAI's own client over a real socket: both forms of its protocol, and every event valid by its types."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import websockets
from openai.types.realtime import realtime_client_event
from pydantic import TypeAdapter

from deployments.ingress.http.routes import create_app
from deployments.ingress.live.client_events import UNSUPPORTED, UPDATES
from deployments.ingress.service import TranscriptionService
from tests.support.http_service import service
from tests.support.listening import listening
from tests.support.live import BETA, GA, LoudVoice, silence, speech
from tests.support.paths import AUDIO
from tests.support.scripted_stages import ScriptedStages
from tests.support.spoken_clips import pcm_of

TEXT = "Hello there, world."
RATE = 24_000
PIECE = 2 * RATE // 10  # bytes: 50 ms


@pytest.fixture
def asked(tmp_path: Path) -> TranscriptionService:
    made = service(ScriptedStages(texts=[TEXT]), tmp_path)
    made.live.voice = LoudVoice()
    return made


@pytest.fixture
def url(asked: TranscriptionService) -> Iterator[str]:
    with listening(create_app(asked), sockets=True) as address:
        yield address


def client_of(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", websocket_base_url=f"{url.replace('http', 'ws')}/v1", api_key="x")


def base64_of(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


async def events_until(connection: Any, kind: str, check: TypeAdapter[Any]) -> list[Any]:
    """The events up to one of a kind, each as the client makes it of a document that its types allow."""
    events: list[Any] = []
    while not events or events[-1].type != kind:
        async with asyncio.timeout(20):
            raw = await connection.recv_bytes()
        check.validate_json(raw)
        events.append(connection.parse_event(raw))
    return events


COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"

SESSION: dict[str, Any] = {
    "type": "transcription",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": RATE},
            "noise_reduction": {"type": "near_field"},
            "transcription": {"model": "gpt-4o-transcribe", "prompt": "", "language": "en"},
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
            },
        }
    },
    "include": ["item.input_audio_transcription.logprobs"],
}
"""The example of OpenAI's guide."""


def test_a_session_of_the_client(url: str) -> None:
    async def talk() -> list[Any]:
        async with client_of(url).realtime.connect(extra_query={"intent": "transcription"}) as connection:
            await connection.session.update(session=SESSION)  # type: ignore[arg-type]  # a document, as clients write it
            audio = silence(0.5, RATE) + speech(2, RATE) + silence(1, RATE)
            for first in range(0, len(audio), PIECE):
                await connection.input_audio_buffer.append(audio=base64_of(audio[first : first + PIECE]))
            return await events_until(connection, COMPLETED, GA)

    events = asyncio.run(talk())
    kinds = [event.type for event in events]
    assert kinds[:3] == ["session.created", "session.updated", "input_audio_buffer.speech_started"]
    assert "".join(event.delta for event in events if event.type == DELTA) == events[-1].transcript == TEXT
    assert events[-1].logprobs[0].logprob == -0.5
    assert events[-1].usage.type == "duration"
    item = next(event for event in events if event.type == "conversation.item.added").item
    assert (item.id, item.role) == (events[-1].item_id, "user")


def test_a_client_that_commits_by_itself(url: str) -> None:
    async def talk() -> list[Any]:
        async with client_of(url).realtime.connect(extra_query={"intent": "transcription"}) as connection:
            off: Any = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
            await connection.session.update(session=off)
            await connection.input_audio_buffer.append(audio=base64_of(speech(1, RATE)))
            await connection.input_audio_buffer.clear()
            await connection.input_audio_buffer.commit(event_id="mine")
            events = await events_until(connection, "error", GA)
            await connection.input_audio_buffer.append(audio=base64_of(speech(1, RATE)))
            await connection.input_audio_buffer.commit()
            return events + await events_until(connection, COMPLETED, GA)

    events = asyncio.run(talk())
    error = next(event for event in events if event.type == "error").error
    assert (error.code, error.event_id) == ("input_audio_buffer_commit_empty", "mine")
    assert events[-1].transcript == TEXT


def test_a_session_of_the_client_before_general_availability(url: str) -> None:
    async def talk() -> list[Any]:
        beta = client_of(url).beta.realtime
        async with beta.connect(model="whisper-1", extra_query={"intent": "transcription"}) as connection:
            await connection.transcription_session.update(
                session={
                    "input_audio_format": "pcm16",
                    "input_audio_transcription": {"model": "whisper-1", "language": "en"},
                    "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
                }
            )
            await connection.input_audio_buffer.append(audio=base64_of(speech(1, RATE) + silence(1, RATE)))
            return await events_until(connection, COMPLETED, BETA)

    events = asyncio.run(talk())
    assert [event.type.removeprefix("input_audio_buffer.") for event in events] == [
        *("session.created", "transcription_session.updated", "speech_started", "speech_stopped", "committed"),
        *("conversation.item.created", DELTA, COMPLETED),
    ]
    assert events[-1].transcript == TEXT


def client_event_types() -> set[str]:
    """The types of all events that the client can send."""
    union = realtime_client_event.RealtimeClientEvent.__args__[0]  # type: ignore[attr-defined]  # an annotated union
    return {event.model_fields["type"].annotation.__args__[0] for event in union.__args__}


def test_every_event_of_the_client_is_known_here() -> None:
    honoured = {f"input_audio_buffer.{name}" for name in ("append", "commit", "clear")} | UPDATES
    assert client_event_types() <= honoured | set(UNSUPPORTED)


@pytest.mark.parametrize("kind", sorted(UNSUPPORTED))
def test_an_event_that_is_not_honoured_gets_a_typed_error(url: str, kind: str) -> None:
    async def talk() -> Any:
        async with client_of(url).realtime.connect(extra_query={"intent": "transcription"}) as connection:
            event: Any = {"type": kind, "event_id": "mine"}
            await connection.send(event)
            return (await events_until(connection, "error", GA))[-1]

    error = asyncio.run(talk()).error
    assert (error.code, error.event_id, error.type) == ("unsupported_event", "mine", "invalid_request_error")


def test_a_refusal_reaches_the_client_as_an_answer(url: str) -> None:
    async def talk() -> None:
        async with client_of(url).realtime.connect(model="gpt-realtime"):
            raise AssertionError("it was let in")

    with pytest.raises(websockets.InvalidStatus) as caught:
        asyncio.run(talk())
    assert caught.value.response.status_code == 404
    assert b"model_not_found" in caught.value.response.body


def test_human_speech_is_heard_by_the_real_voice_model(tmp_path: Path) -> None:
    pcm = np.concatenate([pcm_of(sorted(AUDIO.glob("*.wav"))[0]), np.zeros(16_000, np.int16)])
    with listening(create_app(service(ScriptedStages(texts=[TEXT]), tmp_path)), sockets=True) as address:

        async def talk() -> list[Any]:
            async with client_of(address).realtime.connect(extra_query={"intent": "transcription"}) as connection:
                sent: Any = {"format": {"type": "audio/pcm", "rate": 16_000}}
                await connection.session.update(session={"type": "transcription", "audio": {"input": sent}})
                for first in range(0, len(pcm), 1600):
                    await connection.input_audio_buffer.append(audio=base64_of(pcm[first : first + 1600].tobytes()))
                kinds: list[Any] = []
                while not kinds or kinds[-1].type != COMPLETED:
                    kinds.append(await connection.recv())
                return kinds

        events = asyncio.run(talk())
    stopped = next(event for event in events if event.type == "input_audio_buffer.speech_stopped")
    assert 2000 < stopped.audio_end_ms < 3500, "the clip lasts 2.5 s"
