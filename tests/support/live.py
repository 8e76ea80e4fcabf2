"""Live sessions without a model: speech is whatever is not silent, and texts are scripted."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from openai.types.beta.realtime import realtime_server_event as beta_events
from openai.types.realtime import realtime_server_event
from prometheus_client import CollectorRegistry
from pydantic import TypeAdapter

from deployments.ingress.live.configuration import Configuration, Dialect, UtteranceForm
from deployments.ingress.live.outbox import Outbox
from deployments.ingress.live.session import Session, SessionLimits, Surroundings
from deployments.ingress.live.utterance import Draft, EarlyText
from deployments.ingress.live.voice import VoiceThread
from deployments.ingress.scheduling.pipeline import WindowDone
from deployments.ingress.telemetry.live import LiveStatistics
from deployments.ingress.transcript.segments import split_segments
from deployments.ingress.transcript.speakers import Speakers
from deployments.ingress.transcription import Transcription
from deployments.shared.contracts import Diarized, Speaker, StageTiming, TokenLogprob, Transcript, Turn, Window, Word
from deployments.shared.errors import AmanuensisError
from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.voice_chunks import CHUNK

if TYPE_CHECKING:
    from deployments.shared.voice_model import StreamState

LIMITS = SessionLimits(ahead_s=60.0, buffer_s=120.0, session_s=3600.0, idle_s=300.0)
GA: TypeAdapter[Any] = TypeAdapter(realtime_server_event.RealtimeServerEvent)
BETA: TypeAdapter[Any] = TypeAdapter(beta_events.RealtimeServerEvent)
"""Every event that OpenAI's clients know, in both forms of the protocol."""

PCM_16 = {"type": "audio/pcm", "rate": SAMPLE_RATE}


def speech(seconds: float, rate: int = SAMPLE_RATE) -> bytes:
    """A loud tone as 16-bit samples."""
    return (9000 * np.sin(np.arange(round(seconds * rate)))).astype("<i2").tobytes()


def silence(seconds: float, rate: int = SAMPLE_RATE) -> bytes:
    return bytes(2 * round(seconds * rate))


def session_update(**sent: Any) -> dict[str, Any]:
    """The update of a session's input."""
    return {"type": "session.update", "session": {"type": "transcription", "audio": {"input": sent}}}


def append(audio: bytes) -> dict[str, Any]:
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()}


COMMIT = {"type": "input_audio_buffer.commit"}
CLEAR = {"type": "input_audio_buffer.clear"}
MANUAL = session_update(format=PCM_16, turn_detection=None)
VAD = session_update(format=PCM_16)


class LoudVoice(VoiceThread):
    """Somebody speaks in every chunk that is not silent."""

    async def hear(self, samples: NDArray[np.int16], state: StreamState | None) -> tuple[list[float], StreamState]:
        await asyncio.sleep(0)
        loud = np.abs(samples.reshape(-1, CHUNK)).max(axis=1) > 100
        return [0.9 if each else 0.0 for each in loud], state  # type: ignore[return-value]  # it remembers nothing


class ScriptedTranscriber:
    """Writes ``text`` of whole utterances, and as many of its words as there are seconds of one that is spoken.

    Attributes:
        text: of each utterance.
        before: runs before each text is found.
        error: instead of a text.
        asked: the seconds of audio of each call, and whether the utterance was whole.
        forms: of the calls.
        voices: what the speakers of whole utterances sound like, one utterance after the other.
        language: of the texts of parts; None where it is in doubt.
        logprob: of each word of such a text.
        finds_early: whether there is a text in time in a pause.
        accepted: the texts of pauses that became those of their utterances.
        given_up: calls that were cancelled.
    """

    longest_s = 30.0

    def __init__(self, text: str = "one two three four five") -> None:
        self.text = text
        self.before: Callable[[], Awaitable[None]] | None = None
        self.error: AmanuensisError | None = None
        self.rejects: AmanuensisError | None = None
        self.asked: list[tuple[float, bool]] = []
        self.forms: list[UtteranceForm] = []
        self.voices: list[tuple[float, ...]] = []
        self.language: str | None = None
        self.logprob = -math.inf
        self.finds_early = True
        self.accepted: list[str] = []
        self.given_up = 0
        self.running = 0

    def check(self, form: UtteranceForm) -> tuple[str, ...]:
        del form
        if self.rejects is not None:
            raise self.rejects
        return ()

    async def partial(self, request_id: str, form: UtteranceForm, pcm: bytes) -> Draft | None:
        del request_id
        seconds = await self._ask(form, pcm, is_whole=False)
        words = self.text.split()[: int(seconds)]
        return Draft(" ".join(words), self.language, tuple(TokenLogprob(f" {word}", self.logprob) for word in words))

    async def early(self, request_id: str, form: UtteranceForm, pcm: bytes) -> EarlyText | None:
        del request_id
        seconds = await self._ask(form, pcm, is_whole=False)
        if not self.finds_early:
            return None
        whole = transcription_of(self.text, seconds)
        return EarlyText(whole, lambda: self.accepted.append(whole.text))

    async def whole(self, request_id: str, form: UtteranceForm, pcm: bytes) -> Transcription:
        del request_id
        seconds = await self._ask(form, pcm, is_whole=True)
        if self.error is not None:
            raise self.error
        return transcription_of(self.text, seconds, self.voices.pop(0) if self.voices else None)

    async def _ask(self, form: UtteranceForm, pcm: bytes, *, is_whole: bool) -> float:
        seconds = len(pcm) / 2 / SAMPLE_RATE
        self.asked.append((seconds, is_whole))
        self.forms.append(form)
        self.running += 1
        try:
            if self.before is not None:
                await self.before()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            self.running -= 1
        return seconds


def transcription_of(text: str, seconds: float, voice: tuple[float, ...] | None = None) -> Transcription:
    """What the graph would find out of an utterance with this text, each word a tenth of a second long.

    Args:
        text: of the utterance.
        seconds: of its audio.
        voice: what its one speaker sounds like; None where nobody asked.
    """
    words = tuple(Word(f" {word}", index / 10, index / 10 + 0.1, 1.0) for index, word in enumerate(text.split()))
    logprobs = tuple(TokenLogprob(word.text, -0.5) for word in words)
    transcript = Transcript(text, (1,), "en", 1.0, -0.1, 0.0, 1.0, 0.0, words=words, logprobs=logprobs)
    done = WindowDone(Window(0, 0.0, seconds), transcript, "cpu:test")
    if voice is None:
        return Transcription("transcribe", seconds, "en", [done], (), "cpu:test", languages=("en",))
    diarized = Diarized((Speaker(None, -20.0, voice),), (Turn(0.0, seconds, 0),), StageTiming(0.0, 0.0, 1, "a", "cpu"))
    speakers = Speakers(diarized)
    segments = split_segments([(done.window, transcript)], speakers=speakers)
    return Transcription(
        "transcribe", seconds, "en", [done], segments, "cpu:test", languages=("en",), speakers=speakers
    )


def make_session(
    transcriber: ScriptedTranscriber,
    outbox: Outbox,
    limits: SessionLimits = LIMITS,
    dialect: Dialect = "ga",
    statistics: LiveStatistics | None = None,
) -> Session:
    statistics = statistics or LiveStatistics(CollectorRegistry())
    around = Surroundings(transcriber, LoudVoice(), outbox, statistics)
    return Session(around, limits, Configuration(), dialect)


class Bench:
    """A session, and what its client is told. Made inside a running loop.

    Attributes:
        told: the events so far.
    """

    def __init__(
        self,
        transcriber: ScriptedTranscriber | None = None,
        limits: SessionLimits = LIMITS,
        dialect: Dialect = "ga",
        outbox: Outbox | None = None,
    ) -> None:
        self.transcriber = transcriber or ScriptedTranscriber()
        self.outbox = outbox or Outbox(10_000)
        self.statistics = LiveStatistics(CollectorRegistry())
        self.session = make_session(self.transcriber, self.outbox, limits, dialect, self.statistics)
        self.told: list[dict[str, Any]] = []
        self._types: TypeAdapter[Any] = BETA if dialect == "beta" else GA
        self._tasks = [asyncio.create_task(self.session.run()), asyncio.create_task(self._read())]

    async def say(self, *messages: dict[str, Any] | bytes) -> None:
        """Send messages, each after the one before was worked on as far as possible."""
        for message in messages:
            self.session.receive(message if isinstance(message, bytes) else json.dumps(message))
            await settle()

    async def end(self) -> None:
        """Let the session end, as when the service does."""
        self.session.end()
        await self._tasks[0]
        await settle()
        await self.close()

    async def close(self) -> None:
        """End the session as when its client is gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.session.abandon()

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events so far whose type ends so."""
        return [event for event in self.told if event["type"].endswith(kind)]

    @property
    def types(self) -> list[str]:
        """The types of the events so far, without what all of a kind begin with."""
        return [event["type"].removeprefix("conversation.item.").removeprefix(SHORT) for event in self.told]

    async def _read(self) -> None:
        while True:
            event = json.loads(await self.outbox.next())
            if event["type"] != "session.updated":  # it shows 16 kHz, which OpenAI's types do not have
                self._types.validate_python(event)
            self.told.append(event)
            self.outbox.sent()


SHORT = "input_audio_transcription."


async def settle() -> None:
    """Until everybody waits for something."""
    for _ in range(100):
        await asyncio.sleep(0)
