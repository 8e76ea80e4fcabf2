"""A live session: audio comes in, utterances and their texts come out. Knows no sockets."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from deployments.ingress.live.audio_formats import AudioFormat, AudioReader
from deployments.ingress.live.client_events import (
    AppendAudio,
    ClearAudio,
    ClientEvent,
    CommitAudio,
    UpdateSession,
    event_id_of,
    read_document,
    read_event,
)
from deployments.ingress.live.configuration import Configuration, Dialect
from deployments.ingress.live.events import error_event
from deployments.ingress.live.items import Items, milliseconds
from deployments.ingress.live.listening import Listener
from deployments.ingress.live.outbox import Outbox
from deployments.ingress.live.timeline import Timeline
from deployments.ingress.live.turn_detection import Started, Turn
from deployments.ingress.live.utterance import Transcribes
from deployments.ingress.live.voice import VoiceThreads
from deployments.ingress.telemetry.live import LiveStatistics
from deployments.shared.errors import (
    AmanuensisError,
    EmptyAudioBufferError,
    FullAudioBufferError,
    InvalidRequestError,
    LiveAudioTooFastError,
)
from deployments.shared.frames import SAMPLE_RATE

MOST_WAITING: Final = 1024  # events that wait to be heard, whatever they hold
DENSEST: Final = 80_000  # characters of an event per second of audio in it: base64 of 48 kB, and some to spare
MIN_COMMIT: Final = SAMPLE_RATE // 10  # samples: in less nobody says a word


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How much one session may ask for.

    Attributes:
        ahead_s: seconds of audio that may wait to be heard.
        buffer_s: seconds of the longest utterance that a client commits by itself.
        session_s: seconds that it may last.
        idle_s: seconds for which nothing may come.
    """

    ahead_s: float
    buffer_s: float
    session_s: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a session works with.

    Attributes:
        transcriber: finds its texts.
        voice: hears who speaks.
        outbox: of its client.
        statistics: of all sessions.
    """

    transcriber: Transcribes
    voice: VoiceThreads
    outbox: Outbox
    statistics: LiveStatistics


class _Waiting(NamedTuple):
    """What a client sent and was not worked on yet.

    Attributes:
        seconds: of audio in it, by the format of the session when it came.
    """

    event: ClientEvent
    seconds: float


class Session:
    """Takes what a client sends in its order, and puts what it is told into an outbox.

    Attributes:
        id: of the session.

    Args:
        around: what it works with.
        limits: of this session.
        configuration: what it does until its client says otherwise.
        dialect: the form of the protocol.
    """

    def __init__(
        self, around: Surroundings, limits: SessionLimits, configuration: Configuration, dialect: Dialect
    ) -> None:
        self.id = f"sess_{uuid.uuid4().hex}"
        self._around = around
        self._outbox = around.outbox
        self._limits = limits
        self._configuration = configuration
        self._expires_at = round(time.time() + limits.session_s)
        self._inbox: asyncio.Queue[_Waiting | None] = asyncio.Queue()
        self._ahead_s = 0.0
        self._timeline = Timeline()
        self._reader = AudioReader(configuration.audio_format)
        self._items = Items(around.transcriber, around.outbox, around.statistics, dialect)
        self._listener = self._new_listener()
        self._tell_session("session.created")

    def receive(self, message: str | bytes) -> None:
        """Take a message of the client: an event as JSON, or audio as it is.

        Raises:
            LiveAudioTooFastError: more waits to be heard than may.
        """
        if len(message) > DENSEST * max(1.0, self._limits.ahead_s):
            raise LiveAudioTooFastError.beyond(self._limits.ahead_s)
        if isinstance(message, bytes):
            self._take(AppendAudio(message))
            return
        event_id = None
        try:
            document = read_document(message)
            event_id = event_id_of(document)
            event = read_event(document)
        except InvalidRequestError as error:
            self._outbox.put(error_event(error, event_id))
        else:
            self._take(event)

    def end(self) -> None:
        """Let ``run`` return when all that has come was heard and told."""
        self._inbox.put_nowait(None)

    async def run(self) -> None:
        """Work until ``end``; what is spoken then is committed, and its text awaited."""
        while (waiting := await self._inbox.get()) is not None:
            try:
                await self._handle(waiting.event)
            except AmanuensisError as error:
                self._outbox.put(error_event(error, waiting.event.event_id))
            self._ahead_s -= waiting.seconds
        self._commit_speech()
        await self._items.told()

    async def abandon(self) -> None:
        """Give up all work; nothing of it is left behind."""
        await self._items.abandon()

    def _take(self, event: ClientEvent) -> None:
        seconds = self._configuration.audio_format.seconds(len(event.audio)) if isinstance(event, AppendAudio) else 0.0
        self._ahead_s += seconds
        self._inbox.put_nowait(_Waiting(event, seconds))
        if self._ahead_s > self._limits.ahead_s or self._inbox.qsize() > MOST_WAITING:
            raise LiveAudioTooFastError.beyond(self._limits.ahead_s)

    async def _handle(self, event: ClientEvent) -> None:
        match event:
            case AppendAudio():
                await self._append(event.audio)
            case CommitAudio():
                self._commit_buffer()
            case ClearAudio():
                await self._clear()
            case UpdateSession():
                self._update(event)

    async def _append(self, audio: bytes) -> None:
        """Hear more audio, a second at a time, so that others get their turn in between.

        Raises:
            FullAudioBufferError: nobody commits what is there.
        """
        audio_format = self._configuration.audio_format
        if self._listener is None and self._buffered_s + audio_format.seconds(len(audio)) > self._limits.buffer_s:
            raise FullAudioBufferError.beyond(self._limits.buffer_s)
        for piece in _seconds(audio, audio_format):
            self._timeline.append(self._reader.read(piece))
            if self._listener is None:
                await asyncio.sleep(0)
            else:
                await self._listen(self._listener)

    async def _listen(self, listener: Listener) -> None:
        """Let turns begin and end as they are heard."""
        for turn in await listener.turns():
            self._take_turn(listener, turn)
        if self._items.speaking is None:
            self._timeline.forget_before(listener.detector.earliest(listener.heard))
        else:
            self._items.speaking.hear(self._timeline, listener.heard, listener.detector.speech_end)

    def _take_turn(self, listener: Listener, turn: Turn) -> None:
        utterance = self._items.speaking
        if isinstance(turn, Started):
            self._items.start(turn.at, self._configuration.form)
            return
        if utterance is not None:
            self._items.stop(utterance, turn, self._timeline.between(utterance.start, turn.at))
        self._timeline.forget_before(min(turn.at, listener.heard))
        if turn.goes_on:
            self._items.start(turn.at, self._configuration.form)

    def _commit_buffer(self) -> None:
        """Commit because the client says so.

        Raises:
            EmptyAudioBufferError: there is nothing to commit.
        """
        end = self._timeline.end
        if self._listener is None:
            utterance = self._items.new(self._timeline.start, self._configuration.form)
        elif self._items.speaking is None:
            raise EmptyAudioBufferError.without_speech()
        else:
            utterance = self._items.speaking
        if end - utterance.start < MIN_COMMIT:
            raise EmptyAudioBufferError.with_only(milliseconds(end - utterance.start))
        self._items.commit(utterance, self._timeline.between(utterance.start, end))
        self._forget_until(end)

    def _commit_speech(self) -> None:
        """Commit what is being spoken, though it has not ended."""
        utterance, end = self._items.speaking, self._timeline.end
        if utterance is not None:
            self._items.commit(utterance, self._timeline.between(utterance.start, end))
            self._forget_until(end)

    def _forget_until(self, end: int) -> None:
        """Take no audio before ``end`` for a part of any later utterance."""
        if self._listener is None:
            self._timeline.forget_before(end)
        else:
            self._listener.detector.forget(end)
            self._timeline.forget_before(min(end, self._listener.heard))

    async def _clear(self) -> None:
        await self._items.drop()
        self._forget_until(self._timeline.end)
        self._outbox.put({"type": "input_audio_buffer.cleared"})

    def _update(self, update: UpdateSession) -> None:
        """Do from now on what the client says.

        Raises:
            InvalidRequestError: it cannot be done; all stays as it was.
        """
        before = self._configuration
        configuration = before.updated(update.session, is_beta=update.is_beta)
        warnings = configuration.warnings + self._around.transcriber.check(configuration.form)
        self._configuration = replace(configuration, warnings=warnings)
        if update.is_beta:
            self._items.dialect = "beta"
        if configuration.audio_format != before.audio_format:
            self._reader = AudioReader(configuration.audio_format)
        if configuration.turns != before.turns:
            self._listener = self._new_listener()
            self._commit_speech()
        self._tell_session("transcription_session.updated" if update.is_beta else "session.updated")

    def _new_listener(self) -> Listener | None:
        turns = self._configuration.turns
        if turns is None:
            return None
        return Listener(self._around.voice, self._timeline, turns, self._around.transcriber.longest_s)

    def _tell_session(
        self, kind: Literal["session.created", "session.updated", "transcription_session.updated"]
    ) -> None:
        document = self._configuration.document(self._items.dialect, self.id, self._expires_at)
        self._outbox.put({"type": kind, "session": document})

    @property
    def _buffered_s(self) -> float:
        return (self._timeline.end - self._timeline.start) / SAMPLE_RATE


def _seconds(audio: bytes, audio_format: AudioFormat) -> Iterator[bytes]:
    """Yield audio in pieces of a second."""
    step = audio_format.sample_bytes * audio_format.rate
    for first in range(0, len(audio), step):
        yield audio[first : first + step]
