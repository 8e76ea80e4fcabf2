"""Human voices that are transcribed while they speak, through the whole service and real Whisper.

Each stream has the speed of speech: four at a time, as four people would speak.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np
import pytest
import requests
import websockets
from numpy.typing import NDArray
from openai import AsyncOpenAI

from deployments.shared.frames import SAMPLE_RATE
from tests.support.paths import AUDIO
from tests.support.service_helpers import corpus_file, normal, samples, slots_in_use, wait_until, wav

HUMAN = AUDIO / "human" / "jfk.flac"
VOICES = (
    "librispeech/2033-164914-0000.flac",
    "librispeech/1688-142285-0003.flac",
    "librispeech/1688-142285-0000.flac",
    "librispeech/1688-142285-0001.flac",
)
SMALL_ERROR = 0.1
"""Errors per word of a live text against the file's: a word that was sent stays, and pauses cut other windows."""

PIECE_S = 0.1
PIECE = round(PIECE_S * SAMPLE_RATE)
PATIENCE_S = 90.0
COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"
STARTED = "input_audio_buffer.speech_started"

SESSION: Any = {
    "type": "transcription",
    "audio": {"input": {"format": {"type": "audio/pcm", "rate": SAMPLE_RATE}, "transcription": {"language": "en"}}},
    "include": ["item.input_audio_transcription.words"],
}

SPEAKERS: Any = {
    "type": "transcription",
    "audio": {"input": {**SESSION["audio"]["input"], "turn_detection": None}},
    "include": ["item.input_audio_transcription.speakers"],
}


@dataclass(frozen=True)
class Live:
    """What a session told.

    Attributes:
        events: all of them.
        seconds: until its last text, from the start of the stream.
    """

    events: Sequence[Any]
    seconds: float

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]

    def stopped_before(self, event: Any) -> set[str]:
        """The items whose speech had ended when an event came."""
        earlier = self.events[: self.events.index(event)]
        return {each.item_id for each in earlier if each.type == "input_audio_buffer.speech_stopped"}

    @property
    def text(self) -> str:
        """The texts of all items, in the order in which they were said."""
        texts = {event.item_id: event.transcript for event in self.of(COMPLETED)}
        return " ".join(texts[event.item_id] for event in self.of(STARTED))


def client_of(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="unused")


async def speak(url: str, pcm: NDArray[np.int16]) -> Live:
    """Stream samples as fast as they were spoken, and silence behind them."""
    loop, events = asyncio.get_running_loop(), list[Any]()
    spoken = np.concatenate([pcm, np.zeros(2 * SAMPLE_RATE, np.int16)])
    async with client_of(url).realtime.connect(extra_query={"intent": "transcription"}) as connection:
        await connection.session.update(session=SESSION)
        began = loop.time()

        async def say() -> None:
            for number, first in enumerate(range(0, len(spoken), PIECE), start=1):
                await asyncio.sleep(began + number * PIECE_S - loop.time())
                piece = base64.b64encode(spoken[first : first + PIECE].tobytes()).decode()
                await connection.input_audio_buffer.append(audio=piece)

        saying = asyncio.create_task(say())
        async with asyncio.timeout(len(spoken) / SAMPLE_RATE + PATIENCE_S):
            while not (saying.done() and is_complete(events)):
                events += await next_event(connection)
        await saying
        return Live(events, loop.time() - began)


async def next_event(connection: Any) -> list[Any]:
    """The next event; nothing if none comes for a moment."""
    try:
        async with asyncio.timeout(0.5):
            return [await connection.recv()]
    except TimeoutError:
        return []


async def commit(url: str, turns: Sequence[NDArray[np.int16]]) -> list[Any]:
    """The whole texts of turns that a client commits by itself, each with its speakers."""
    told = list[Any]()
    async with client_of(url).realtime.connect(extra_query={"intent": "transcription"}) as connection:
        await connection.session.update(session=SPEAKERS)
        async with asyncio.timeout(PATIENCE_S):
            for turn in turns:
                await connection.input_audio_buffer.append(audio=base64.b64encode(turn.tobytes()).decode())
                await connection.input_audio_buffer.commit()
                async for event in connection:
                    if event.type == COMPLETED:
                        told.append(event)
                        break
    return told


def is_complete(events: Sequence[Any]) -> bool:
    """Whether somebody spoke, and everything that was said has its text."""
    begun, done = ({event.item_id for event in events if event.type == kind} for kind in (STARTED, COMPLETED))
    return bool(begun) and begun == done


def speak_together(url: str, clips: Sequence[NDArray[np.int16]]) -> list[Live]:
    async def all_of_them() -> list[Live]:
        return await asyncio.gather(*(speak(url, clip) for clip in clips))

    return asyncio.run(all_of_them())


def file_text(url: str, pcm: NDArray[np.int16]) -> str:
    answer = requests.post(
        f"{url}/v1/audio/transcriptions", files={"file": wav(pcm)}, data={"language": "en"}, timeout=120
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


def check(live: Live) -> None:
    """What holds for every session, whatever was said."""
    assert not live.of("error")
    for completed in live.of(COMPLETED):
        deltas = [event.delta for event in live.of(DELTA) if event.item_id == completed.item_id]
        assert any(deltas) == bool(completed.transcript), "what was told early may be corrected, but is told"
        times = [(word["start"], word["end"]) for word in completed.words]
        assert times == sorted(times)
    before = [event.previous_item_id for event in live.of("input_audio_buffer.committed")]
    assert before == [None, *(event.item_id for event in live.of("input_audio_buffer.committed"))][: len(before)]


def errors(expected: str, text: str) -> float:
    return float(jiwer.wer(normal(expected), normal(text)))


class TestAHumanVoice:
    """Needs nothing but the tree."""

    def test_the_words_come_while_they_are_spoken(self, human: str) -> None:
        pcm = samples(HUMAN)
        (live,) = speak_together(human, [pcm])
        check(live)
        assert errors(file_text(human, pcm), live.text) <= SMALL_ERROR
        assert any(event.item_id not in live.stopped_before(event) for event in live.of(DELTA))
        words = [word for event in live.of(COMPLETED) for word in event.words]
        assert 0 <= words[0]["start"] < words[-1]["end"] < len(pcm) / SAMPLE_RATE + 1

    def test_a_session_that_breaks_off_leaves_no_slot(self, human: str) -> None:
        async def break_off() -> None:
            async with websockets.connect(f"{human.replace('http', 'ws')}/v1/realtime") as socket:
                await socket.send(samples(HUMAN).tobytes())
                socket.transport.abort()

        asyncio.run(break_off())
        wait_until(lambda: live_sessions(human) == 0)
        wait_until(lambda: slots_in_use(human) == 0)

    def test_a_refusal_comes_before_the_upgrade(self, human: str) -> None:
        async def connect() -> None:
            async with websockets.connect(f"{human.replace('http', 'ws')}/v1/realtime?intent=conversation"):
                raise AssertionError("it was let in")

        with pytest.raises(websockets.InvalidStatus) as caught:
            asyncio.run(connect())
        assert caught.value.response.status_code == 400
        assert b"unsupported_parameter" in caught.value.response.body
        assert "x-request-id" in caught.value.response.headers


def live_sessions(url: str) -> int:
    """How many sessions are open."""
    found = re.search(r"^amanuensis_live_sessions (\S+)$", requests.get(f"{url}/metrics", timeout=5).text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


class TestFourVoices:
    """Need the corpus of human speech."""

    @pytest.fixture(scope="class")
    def clips(self) -> list[NDArray[np.int16]]:
        return [samples(corpus_file(name)) for name in VOICES]

    @pytest.fixture(scope="class")
    def lives(self, human: str, clips: list[NDArray[np.int16]]) -> list[Live]:
        return speak_together(human, clips)

    def test_each_text_is_that_of_the_file(self, human: str, clips: list[NDArray[np.int16]], lives: list[Live]) -> None:
        files = [file_text(human, clip) for clip in clips]
        for live in lives:
            check(live)
        assert jiwer.wer([*map(normal, files)], [normal(live.text) for live in lives]) <= SMALL_ERROR

    def test_who_speaks_is_known_over_the_session(self, human: str, clips: list[NDArray[np.int16]]) -> None:
        one, other, *_ = clips
        turns = [one[: 5 * SAMPLE_RATE], other, one[5 * SAMPLE_RATE :]]
        said = asyncio.run(commit(human, turns))
        speakers = [{segment["speaker"] for segment in event.segments} for event in said]
        assert speakers == [{"A"}, {"B"}, {"A"}]

    def test_the_last_text_comes_soon_after_the_last_word(
        self, clips: list[NDArray[np.int16]], lives: list[Live]
    ) -> None:
        for clip, live in zip(clips, lives, strict=True):
            assert live.seconds < len(clip) / SAMPLE_RATE + 10
