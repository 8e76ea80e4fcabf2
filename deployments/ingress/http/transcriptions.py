"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from deployments.ingress.http.advice import advice
from deployments.ingress.http.body import reject_declared_length
from deployments.ingress.http.errors import note_abandoned
from deployments.ingress.http.forms import ReceivedForm, parse_form, priority_of, require_multipart, timeout_of
from deployments.ingress.http.jobs import is_async, reject_callback, submit_job
from deployments.ingress.http.multipart import multipart_form
from deployments.ingress.http.responses import transcription_response
from deployments.ingress.http.state import RequestState, service_of, state_of
from deployments.ingress.http.streaming import stream
from deployments.ingress.request import Request
from deployments.ingress.scheduling.pipeline import AudioReady, Events, WindowDone
from deployments.ingress.service import TranscriptionService
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.time_limit import TimeLimit
from deployments.ingress.transcription import Transcription
from deployments.shared.contracts import Task
from deployments.shared.headers import REPLAY_HEADER
from deployments.shared.memory.spool import room_needed
from deployments.shared.settings import Settings


async def transcriptions(http: HttpRequest) -> Response:
    """Answer with the text of the audio, in its own language."""
    return await _answer(http, "transcribe")


async def translations(http: HttpRequest) -> Response:
    """Answer with the text of the audio, in English."""
    return await _answer(http, "translate")


async def _answer(http: HttpRequest, task: Task) -> Response:
    if is_async(http):
        return await submit_job(http, task)
    state = state_of(http)
    state.record = RequestRecord(state.id, state.client, http.headers.get("traceparent"))
    try:
        return await _transcribe(http, task, state, state.record)
    except asyncio.CancelledError:
        note_abandoned(http)
        raise


async def _transcribe(http: HttpRequest, task: Task, state: RequestState, record: RequestRecord) -> Response:
    service = service_of(http)
    reject_declared_length(http.headers, service.settings.max_upload_bytes)
    require_multipart(http.headers)
    time_limit = _time_limit(http, record.began, service.settings)
    priority = priority_of(None, http.headers)
    record.priority = priority.label
    service.refuse_if_broken()
    with service.admission.enter(priority, time_limit.deadline()) as entry:
        state.body.finish_by(time_limit.upload_deadline(service.settings.max_request_timeout_s))
        received, audio = await _read(http)
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
        transcription = await _collect(events, service, request)
    response = transcription_response(transcription, form)
    service.sinks.answered(record)
    return response


def _time_limit(http: HttpRequest, began: float, settings: Settings) -> TimeLimit:
    named_s = timeout_of(http.headers, settings.max_request_timeout_s)
    if named_s is not None:
        return TimeLimit(began, named_s)
    return TimeLimit(began, settings.request_timeout_s, settings.timeout_per_audio_s)


async def _read(http: HttpRequest) -> tuple[ReceivedForm, bytes]:
    """Return the form, and the bytes of the uploaded file."""
    with room_needed():  # a large upload passes through the temporary directory
        async with multipart_form(http) as fields:
            received = parse_form(fields)
            return received, await received.upload.read()


async def _collect(events: Events, service: TranscriptionService, request: Request) -> Transcription:
    audio, windows = AudioReady(0.0, ()), list[WindowDone]()
    async with aclosing(events) as all_events:
        async for event in all_events:
            if isinstance(event, AudioReady):
                audio = event
            else:
                windows.append(event)
    return Transcription.of(request, service.model, audio, windows)
