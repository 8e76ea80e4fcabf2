"""Takes one request past the diarizer, beside its windows and without a slot."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from deployments.ingress.request import Request
from deployments.ingress.scheduling.graph import Graph
from deployments.ingress.scheduling.slots import CallsWithoutSlot
from deployments.ingress.scheduling.stage_calls import Hold
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.voice_references import REFERENCES
from deployments.ingress.work import SpeakerWork
from deployments.shared.contracts import (
    NO_SLOT,
    BlobRef,
    Diarized,
    PreparedAudio,
    SpeakerOptions,
    Ticket,
    VoiceSample,
    shared_now,
)
from deployments.shared.errors import AudioTooLongError, InvalidAudioError
from deployments.shared.frames import SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class SpeakersFound:
    """The event that tells who speaks when: once, after ``AudioReady``."""

    diarized: Diarized


class SpeakerSearch:
    """The search for the speakers of one recording, which goes on beside its windows.

    Args:
        deadline: of the request, in seconds of the monotonic clock.
    """

    def __init__(self, graph: Graph, request: Request, record: RequestRecord, deadline: float) -> None:
        self._graph = graph
        self._calls = CallsWithoutSlot()
        left_s = deadline - time.monotonic()
        ticket = Ticket(request.id, NO_SLOT, 0, shared_now(None) + left_s, None, request.priority)
        self._hold = Hold(self._calls, ticket, deadline, record, 0)
        self._task: asyncio.Task[SpeakersFound] | None = None

    def begin(self, work: SpeakerWork, prepared: PreparedAudio) -> asyncio.Task[SpeakersFound]:
        """Begin to tell the speakers apart; return what will know them, or raise what ``_run`` does."""
        self._task = asyncio.create_task(self._run(work, prepared))
        return self._task

    async def close(self) -> None:
        """Give up what still runs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._calls.close()

    async def _run(self, work: SpeakerWork, prepared: PreparedAudio) -> SpeakersFound:
        """Return who speaks when.

        Raises:
            InvalidAudioError: a reference is no recording of a few seconds.
            AmanuensisError: what the stages raised.
        """
        if prepared.pcm is None:
            raise ValueError("speakers are found in decoded audio")
        known = tuple([await self._voice(name, recording) for name, recording in work.known])
        options = SpeakerOptions(work.fewest, work.most, known, work.embeddings)
        samples = round(prepared.duration_s * SAMPLE_RATE)
        stages = self._graph.stages
        return SpeakersFound(await self._graph.diarizer(self._hold, stages.diarize, prepared.pcm, samples, options))

    async def _voice(self, name: str, recording: BlobRef) -> VoiceSample:
        try:
            voice = await self._graph.mel(self._hold, self._graph.stages.decode_voice, recording)
        except AudioTooLongError as error:
            message = f"The reference of {name!r} is too long; send 2 to 10 s of speech by one person"
            raise InvalidAudioError(message, param=REFERENCES) from error
        except InvalidAudioError as error:
            raise InvalidAudioError(f"The reference of {name!r}: {error.message}", param=REFERENCES) from error
        return VoiceSample(name, voice.pcm, voice.samples)
