"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from deployments.ingress.http.accepted import accept
from deployments.ingress.http.context import (
    as_amanuensis_error,
    check_declared_length,
    note_failure,
    request_id_of,
    service_of,
)
from deployments.ingress.http.formats import (
    Transcription,
    as_json,
    as_srt,
    as_verbose_json,
    as_vtt,
    usage,
)
from deployments.ingress.http.forms import TranscriptionForm, check_content_type, parse_form, priority_of, timeout_of
from deployments.ingress.http.recorded import begin_record, end_abandoned
from deployments.ingress.scheduling.pipeline import AudioReady, WindowDone
from deployments.ingress.scheduling.time_limit import TimeLimit
from deployments.ingress.service import TranscriptionRequest, TranscriptionService
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.transcript.joining import join_texts, separator
from deployments.ingress.transcript.segments import split_segments
from deployments.shared.contracts import Task
from deployments.shared.headers import DEVICE_HEADER
from deployments.shared.settings import Settings

MAX_FIELDS = 64
MAX_FIELD_BYTES = 64 * 1024

Events = AsyncGenerator[AudioReady | WindowDone]


async def transcriptions(request: Request) -> Response:
    return await _answer(request, "transcribe")


async def translations(request: Request) -> Response:
    return await _answer(request, "translate")


async def _answer(request: Request, task: Task) -> Response:
    record = begin_record(request)
    try:
        return await _transcribe(request, task, record)
    except asyncio.CancelledError:
        end_abandoned(request)
        raise


async def _transcribe(request: Request, task: Task, record: RequestRecord) -> Response:
    service = service_of(request)
    received = time.time()
    check_declared_length(request)
    check_content_type(request.headers)
    time_limit = _time_limit(request, received, service.settings)
    priority = priority_of(None, request.headers)
    record.priority = priority.name.lower()
    service.check_stages()
    with service.admission.enter(priority, time_limit.deadline()) as entry:
        form, filename, audio = await _read(request)
        asked = TranscriptionRequest(
            request_id=request_id_of(request),
            audio=audio,
            task=task,
            model=form.model,
            language=form.language,
            prompt=form.prompt,
            hotwords=form.all_hotwords,
            temperature=form.temperature,
            beam_size=form.beam_size,
            vad_filter=form.vad_filter,
            word_times=form.needs_word_times,
            priority=priority_of(form, request.headers),
            time_limit=time_limit,
            costs=record.costs,
        )
        record.priority = asked.priority.name.lower()
        accept(request, asked, form, filename, entry)
        events = service.transcribe(asked, entry)
        if form.stream:
            return await _stream(request, events, record)
        transcription = await _collect(events, service, asked)
    response = _formatted(transcription, form)
    service.answered(record)
    return response


def _time_limit(request: Request, received: float, settings: Settings) -> TimeLimit:
    named_s = timeout_of(request.headers, settings.max_request_timeout_s)
    if named_s is not None:
        return TimeLimit(received, named_s)
    return TimeLimit(received, settings.request_timeout_s, settings.timeout_per_audio_s)


async def _read(request: Request) -> tuple[TranscriptionForm, str, bytes]:
    """The form, the name of the uploaded file, its bytes."""
    async with request.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES) as fields:
        form, upload = parse_form(fields)
        return form, upload.filename or "", await upload.read()


async def _collect(events: Events, service: TranscriptionService, asked: TranscriptionRequest) -> Transcription:
    duration_s = 0.0
    windows: list[WindowDone] = []
    async with aclosing(events) as all_events:
        async for event in all_events:
            if isinstance(event, AudioReady):
                duration_s = event.duration_s
            else:
                windows.append(event)
    texts = [(item.window, item.transcript) for item in windows]
    return Transcription(
        task=asked.task,
        duration_s=duration_s,
        language=service.language_of(asked, texts),
        windows=windows,
        segments=split_segments(texts),
        device=windows[0].encoder_device if windows else None,
    )


def _formatted(transcription: Transcription, form: TranscriptionForm) -> Response:
    headers = {DEVICE_HEADER: transcription.device} if transcription.device else {}
    match form.response_format:
        case "json":
            return JSONResponse(as_json(transcription), headers=headers)
        case "verbose_json":
            return JSONResponse(as_verbose_json(transcription, form.granularities), headers=headers)
        case "text":
            return PlainTextResponse(transcription.text + "\n", headers=headers)
        case "srt":
            return PlainTextResponse(as_srt(transcription.segments), headers=headers, media_type="application/x-subrip")
        case "vtt":
            return PlainTextResponse(as_vtt(transcription.segments), headers=headers, media_type="text/vtt")


async def _stream(request: Request, events: Events, record: RequestRecord) -> Response:
    """Waits for the audio to be accepted, so that bad audio still gets its own status; then streams."""
    first = await anext(events)
    if not isinstance(first, AudioReady):
        raise TypeError("the pipeline must say first what the audio holds")
    return StreamingResponse(
        _server_sent_events(request, events, first.duration_s, record),
        media_type="text/event-stream",
        headers={"cache-control": "no-store"},
    )


async def _server_sent_events(
    request: Request, events: Events, duration_s: float, record: RequestRecord
) -> AsyncIterator[bytes]:
    texts: list[str] = []
    try:
        async with aclosing(events) as windows:
            async for event in windows:
                if isinstance(event, WindowDone) and event.transcript.text:
                    texts.append(event.transcript.text)
                    yield _event({"type": "transcript.text.delta", "delta": _delta(texts)})
        yield _event({"type": "transcript.text.done", "text": join_texts(texts), "usage": usage(duration_s)})
        service_of(request).answered(record)
    except Exception as error:  # noqa: BLE001  (the status is sent already; the stream itself must tell)
        known = as_amanuensis_error(request, error)
        note_failure(request, known)
        yield _event({"type": "error", **known.body()})
    finally:
        end_abandoned(request)


def _delta(texts: list[str]) -> str:
    """The newest text, so that all deltas joined give the whole."""
    return texts[-1] if len(texts) == 1 else separator(texts[-2], texts[-1]) + texts[-1]


def _event(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n".encode()
