"""The utterances of a session as items of a conversation: in their order, each with its text."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Final

from deployments.ingress.live.configuration import MS, Dialect, UtteranceForm
from deployments.ingress.live.events import item_event
from deployments.ingress.live.outbox import Outbox
from deployments.ingress.live.session_voices import SessionVoices
from deployments.ingress.live.turn_detection import Stopped
from deployments.ingress.live.utterance import Transcribes, Utterance
from deployments.ingress.telemetry.live import LiveStatistics
from deployments.shared.errors import TooManyUtterancesError
from deployments.shared.frames import SAMPLE_RATE

MOST_UNTOLD: Final = 8  # utterances that wait for their texts


class Items:
    """Of one session.

    Attributes:
        speaking: the utterance that is being spoken; None while nobody speaks.
        dialect: the form of the protocol.

    Args:
        transcriber: finds the texts.
        outbox: of the session's client.
        statistics: of all sessions.
        dialect: as the client began.
    """

    def __init__(self, transcriber: Transcribes, outbox: Outbox, statistics: LiveStatistics, dialect: Dialect) -> None:
        self.speaking: Utterance | None = None
        self.dialect: Dialect = dialect
        self._transcriber = transcriber
        self._outbox = outbox
        self._voices = SessionVoices()
        self._statistics = statistics
        self._last: str | None = None
        self._finals: set[asyncio.Task[None]] = set()

    def new(self, at: int, form: UtteranceForm) -> Utterance:
        """Return an utterance that begins at ``at``, in samples from the start of the session."""
        return Utterance(f"item_{uuid.uuid4().hex}", at, form, self._transcriber, self._outbox, self._voices)

    def start(self, at: int, form: UtteranceForm) -> None:
        """Tell that somebody speaks."""
        self.speaking = self.new(at, form)
        self._outbox.put(
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": milliseconds(at),
                "item_id": self.speaking.id,
            }
        )

    def stop(self, utterance: Utterance, stopped: Stopped, pcm: bytes) -> None:
        """Tell that the turn of an utterance has ended, and commit it."""
        self._outbox.put(
            {
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": milliseconds(stopped.at),
                "item_id": utterance.id,
            }
        )
        self.commit(utterance, pcm, stopped)

    def commit(self, utterance: Utterance, pcm: bytes, stopped: Stopped | None = None) -> None:
        """Make an item of an utterance, and have its whole text found.

        Args:
            utterance: which is not spoken any more.
            pcm: all audio of it, 16 kHz mono int16.
            stopped: how its turn has ended; None where the client, or the session, ends it.
        """
        self.speaking = None
        before, self._last = self._last, utterance.id
        self._outbox.put({"type": "input_audio_buffer.committed", "item_id": utterance.id, "previous_item_id": before})
        if self.dialect == "beta":
            self._outbox.put(item_event("conversation.item.created", utterance.id, before))
        else:
            self._outbox.put(item_event("conversation.item.added", utterance.id, before))
            self._outbox.put(item_event("conversation.item.done", utterance.id, before))
        final = asyncio.create_task(self._finish(utterance, pcm, stopped))
        self._finals.add(final)
        final.add_done_callback(self._finals.discard)

    async def drop(self) -> None:
        """Forget the utterance that is being spoken."""
        if self.speaking is not None:
            await self.speaking.give_up()
            self.speaking = None

    async def told(self) -> None:
        """Return when every item has its text, or the reason why it has none."""
        await asyncio.gather(*self._finals)

    async def abandon(self) -> None:
        """Give up all work; nothing of it is left behind."""
        finals = [*self._finals]
        for task in finals:
            task.cancel()
        await asyncio.gather(*finals, return_exceptions=True)
        await self.drop()

    async def _finish(self, utterance: Utterance, pcm: bytes, stopped: Stopped | None) -> None:
        quiet_s = 0.0 if stopped is None else (stopped.at - stopped.speech_end) / SAMPLE_RATE
        speech_ended = time.monotonic() - quiet_s
        try:
            if len(self._finals) > MOST_UNTOLD:
                utterance.fail(TooManyUtterancesError.of(MOST_UNTOLD))
                self._statistics.utterance_failed(TooManyUtterancesError)
                return
            error = await utterance.finish(pcm, None if stopped is None else stopped.sound_end)
        finally:
            await utterance.give_up()
        if error is None:
            self._statistics.utterance_answered(time.monotonic() - speech_ended)
        else:
            self._statistics.utterance_failed(type(error))


def milliseconds(samples: int) -> int:
    """Return how long so many samples last."""
    return MS * samples // SAMPLE_RATE
