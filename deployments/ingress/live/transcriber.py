"""Takes the utterances of a live session through the graph: requests of high priority, over the same slots as files."""

from __future__ import annotations

import functools
import logging
import time
from typing import Final

from deployments.ingress.live.configuration import UtteranceForm
from deployments.ingress.live.utterance import Draft, EarlyText
from deployments.ingress.request import Priority, Request
from deployments.ingress.service import TranscriptionService
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.time_limit import TimeLimit
from deployments.ingress.transcript.language_choice import SURE, spoken_s
from deployments.ingress.transcription import Transcription, collect
from deployments.ingress.wav import with_header
from deployments.shared.errors import AmanuensisError, InternalError

PARTIAL_S: Final = 5.0
"""Seconds after which the text of an unfinished utterance is of no use: more has been said by then."""

ENOUGH_S: Final = 2.0
"""Seconds of speech that decide about the language of what follows: of less it is sometimes sure and wrong."""

FILENAME: Final = "utterance.wav"

logger = logging.getLogger("ray.serve")


class Transcriber:
    """Of one session, whose language it remembers: an utterance of a word or two hardly says which one it is in.

    Args:
        service: whose graph it is.
        client: name of the API key that the session came with.
        traceparent: of the client's own trace; None if it sent none.
    """

    def __init__(self, service: TranscriptionService, client: str, traceparent: str | None) -> None:
        self._service = service
        self._client = client
        self._traceparent = traceparent
        self._language: str | None = None

    @property
    def longest_s(self) -> float:
        """Seconds of the longest window of the model."""
        return self._service.model.max_window_s

    def check(self, form: UtteranceForm) -> tuple[str, ...]:
        """Reject what the model cannot do, before anything is said; return what is not honoured, in whole sentences.

        Raises:
            InvalidRequestError: it is asked for what it cannot do.
        """
        limit = TimeLimit(time.monotonic(), self._service.settings.request_timeout_s)
        self._service.decode_options(self._request("", form, b"", limit))
        if form.model is None or self._service.is_own_name(form.model):
            return ()
        return (f"The model {form.model} is not served here; {self._service.model.name} answers.",)

    async def partial(self, request_id: str, form: UtteranceForm, pcm: bytes) -> Draft | None:
        """Return the text of an utterance so far, found quickly; None if there is no room or time for it, or it fails.

        Args:
            request_id: of this attempt.
            form: what the client wants of the utterance.
            pcm: 16 kHz mono int16.
        """
        plain = form.model_copy(update={"words": False, "speakers": False, "include": ()})
        request = self._request(request_id, plain, pcm, _soon(), draft=True)
        transcription = await self._attempt(request, self._record(request_id))
        if transcription is None:
            return None
        return Draft(transcription.text, _sure_language(transcription), transcription.logprobs)

    async def early(self, request_id: str, form: UtteranceForm, pcm: bytes) -> EarlyText | None:
        """Return what was said in an utterance that may be complete; None as for ``partial``.

        Args:
            request_id: of the utterance.
            form: what the client wants of it.
            pcm: 16 kHz mono int16.
        """
        request, record = self._request(request_id, form, pcm, _soon()), self._record(request_id)
        transcription = await self._attempt(request, record)
        if transcription is None:
            return None
        return EarlyText(transcription, functools.partial(self._accept, record, transcription))

    async def whole(self, request_id: str, form: UtteranceForm, pcm: bytes) -> Transcription:
        """Return what was said in an utterance; it is counted, and recorded if the service fails it.

        Args:
            request_id: of the utterance.
            form: what the client wants of it.
            pcm: 16 kHz mono int16.

        Raises:
            AmanuensisError: it has no text.
        """
        settings = self._service.settings
        limit = TimeLimit(time.monotonic(), settings.request_timeout_s, settings.timeout_per_audio_s)
        request, record = self._request(request_id, form, pcm, limit), self._record(request_id)
        try:
            transcription = await self._transcribe(request, record)
        except Exception as error:
            known = error if isinstance(error, AmanuensisError) else _hidden(error, request_id)
            self._service.tell_failure(known, record, request)
            raise known from error
        self._accept(record, transcription)
        return transcription

    async def _attempt(self, request: Request, record: RequestRecord) -> Transcription | None:
        """Return the text of an utterance that may go on; None if there is none, which is counted."""
        live = self._service.statistics.live
        try:
            transcription = await self._transcribe(request, record)
        except AmanuensisError as error:
            live.partial_failed(error)
            return None
        except Exception:
            logger.exception("The text of an unfinished utterance, %s, failed in an unforeseen way", request.id)
            live.partial_failed(InternalError("unforeseen"))
            return None
        live.partial_answered()
        return transcription

    def _accept(self, record: RequestRecord, transcription: Transcription) -> None:
        """Take a text for that of an utterance: it is counted, and its language is that of the session."""
        self._service.sinks.answered(record)
        if sum(spoken_s(window.window) for window in transcription.windows) >= ENOUGH_S:
            self._language = _sure_language(transcription) or self._language

    async def _transcribe(self, request: Request, record: RequestRecord) -> Transcription:
        service = self._service
        service.refuse_if_broken()
        with service.admission.enter(request.priority, request.time_limit.deadline()) as entry:
            found = await collect(service.transcribe(request, record, entry))
        return Transcription.of(request, service.model, found)

    def _record(self, request_id: str) -> RequestRecord:
        record = RequestRecord(request_id, self._client, self._traceparent)
        record.priority = Priority.HIGH.label
        return record

    def _request(
        self, request_id: str, form: UtteranceForm, pcm: bytes, limit: TimeLimit, *, draft: bool = False
    ) -> Request:
        return Request(
            id=request_id,
            client=self._client,
            task="transcribe",
            form=form,
            audio=with_header(pcm) if pcm else b"",
            filename=FILENAME,
            priority=Priority.HIGH,
            time_limit=limit,
            draft=draft,
            language_before=self._language,
        )


def _soon() -> TimeLimit:
    return TimeLimit(time.monotonic(), PARTIAL_S)


def _sure_language(transcription: Transcription) -> str | None:
    """Return the language of a text; None where there is no text, or its language is in doubt."""
    said = [window.transcript for window in transcription.windows if window.transcript.text]
    if not said or min(transcript.language_probability for transcript in said) < SURE:
        return None
    return said[0].language


def _hidden(error: Exception, request_id: str) -> AmanuensisError:
    logger.error("Utterance %s failed", request_id, exc_info=error)
    return InternalError("An internal error occurred; tell the operator the item_id of this utterance")
