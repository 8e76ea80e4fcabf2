"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``, and how other services are asked for the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from deployments.ingress.http import doors
from deployments.ingress.http.advice import advice
from deployments.ingress.http.body import reject_declared_length
from deployments.ingress.http.doors import Door
from deployments.ingress.http.errors import note_abandoned
from deployments.ingress.http.forms import ReceivedForm, parse_form, priority_of, require_multipart, timeout_of
from deployments.ingress.http.jobs import is_async, reject_callback, submit_job
from deployments.ingress.http.multipart import multipart_form
from deployments.ingress.http.responses import language_response, transcription_response
from deployments.ingress.http.state import RequestState, service_of, state_of
from deployments.ingress.http.streaming import stream
from deployments.ingress.request import Request
from deployments.ingress.scheduling.pipeline import Events, WindowDone
from deployments.ingress.service import TranscriptionService
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.time_limit import TimeLimit
from deployments.ingress.transcription import Transcription, collect
from deployments.ingress.wav import with_header
from deployments.ingress.work import answer_language
from deployments.shared.contracts import Task
from deployments.shared.headers import REPLAY_HEADER
from deployments.shared.memory.spool import room_needed
from deployments.shared.settings import Settings

Finish: TypeAlias = Callable[[Events, TranscriptionService, Request], Awaitable[Response]]
"""Makes the response of what the graph finds out."""


async def transcriptions(http: HttpRequest) -> Response:
    """Answer with the text of the audio, in its own language."""
    return await submit_job(http, "transcribe") if is_async(http) else await _answer(http, doors.transcription)


async def translations(http: HttpRequest) -> Response:
    """Answer with the text of the audio, in English."""
    return await submit_job(http, "translate") if is_async(http) else await _answer(http, doors.translation)


async def inference(http: HttpRequest) -> Response:
    """Answer as whisper.cpp's server does."""
    return await _answer(http, doors.whisper_cpp)


async def asr(http: HttpRequest) -> Response:
    """Answer as whisper-asr-webservice does."""
    return await _answer(http, doors.asr_webservice)


async def detect_language(http: HttpRequest) -> Response:
    """Answer with the language of the first window of speech, as whisper-asr-webservice does."""
    return await _answer(http, doors.asr_webservice, _first_language)


async def _answer(http: HttpRequest, door: Door, finish: Finish | None = None) -> Response:
    state = state_of(http)
    state.record = RequestRecord(state.id, state.client, http.headers.get("traceparent"))
    try:
        return await _transcribe(http, door, state, state.record, finish or _whole_text)
    except asyncio.CancelledError:
        note_abandoned(http)
        raise


async def _transcribe(
    http: HttpRequest, door: Door, state: RequestState, record: RequestRecord, finish: Finish
) -> Response:
    service = service_of(http)
    reject_declared_length(http.headers, service.settings.max_upload_bytes)
    require_multipart(http.headers)
    time_limit = _time_limit(http, record.began, service.settings)
    priority = priority_of(None, http.headers)
    record.priority = priority.label
    service.refuse_if_broken()
    with service.admission.enter(priority, time_limit.deadline()) as entry:
        state.body.finish_by(time_limit.upload_deadline(service.settings.max_request_timeout_s))
        task, received, audio = await _read(http, door)
        form, time_limit = received.form, time_limit.after_upload(time.monotonic())
        entry.deadline = time_limit.deadline()
        reject_callback(form)
        request = Request(
            id=state.id,
            client=state.client,
            task=task,
            form=form,
            audio=audio,
            filename=received.upload.filename or "",
            priority=priority_of(form, http.headers),
            time_limit=time_limit,
            replay_of=http.headers.get(REPLAY_HEADER),
            warnings=tuple(advice(form, received.unknown, service)),
        )
        state.request, record.priority = request, request.priority.label
        service.admission.move(entry, request.priority)
        events = service.transcribe(request, record, entry)
        if form.streams:
            return await stream(http, request, record, entry, events)
        response = await finish(events, service, request)
    service.sinks.answered(record)
    return response


def _time_limit(http: HttpRequest, began: float, settings: Settings) -> TimeLimit:
    named_s = timeout_of(http.headers, settings.max_request_timeout_s)
    if named_s is not None:
        return TimeLimit(began, named_s)
    return TimeLimit(began, settings.request_timeout_s, settings.timeout_per_audio_s)


async def _read(http: HttpRequest, door: Door) -> tuple[Task, ReceivedForm, bytes]:
    """Return the task, the form, and the bytes of the uploaded file."""
    with room_needed():  # a large upload passes through the temporary directory
        async with multipart_form(http) as fields:
            asked = door(fields, http.query_params)
            received = parse_form(asked.fields)
            audio = await received.upload.read()
            return asked.task, received, with_header(audio) if asked.is_raw else audio


async def _whole_text(events: Events, service: TranscriptionService, request: Request) -> Response:
    return transcription_response(Transcription.of(request, service.model, await collect(events)), request.form)


async def _first_language(events: Events, service: TranscriptionService, request: Request) -> Response:
    async with aclosing(events) as all_events:
        async for event in all_events:
            if isinstance(event, WindowDone):
                return language_response(event.transcript.language)
    return language_response(answer_language(request, service.model, []))
