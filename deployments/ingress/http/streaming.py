"""A transcription as server-sent events, in OpenAI's form: one delta per window, then the whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from starlette.requests import Request as HttpRequest
from starlette.responses import StreamingResponse

from deployments.ingress.http import answers
from deployments.ingress.http.errors import as_amanuensis_error, note_abandoned, note_failure
from deployments.ingress.http.formats import as_verbose_json, usage
from deployments.ingress.http.state import service_of
from deployments.ingress.request import Request
from deployments.ingress.scheduling.pipeline import AudioReady, Events, WindowDone
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.transcript.joining import join_texts, separator
from deployments.ingress.transcription import Transcription
from deployments.shared.model.description import Model


async def stream(http: HttpRequest, request: Request, record: RequestRecord, events: Events) -> StreamingResponse:
    """Wait for the audio to be accepted, so that bad audio still gets its own status; then stream."""
    first = await anext(events)
    if not isinstance(first, AudioReady):
        raise TypeError("the pipeline must say first what the audio holds")
    return StreamingResponse(
        _server_sent_events(http, request, record, events, first.duration_s),
        media_type="text/event-stream",
        headers={"cache-control": "no-store"},
    )


async def _server_sent_events(
    http: HttpRequest, request: Request, record: RequestRecord, events: Events, duration_s: float
) -> AsyncIterator[bytes]:
    service, done, before = service_of(http), list[WindowDone](), ""
    try:
        async with aclosing(events) as windows:
            async for event in windows:
                if isinstance(event, WindowDone):
                    done.append(event)
                    if event.transcript.text:
                        yield _event(_delta(before, event, duration_s))
                        before = event.transcript.text
        yield _event(_done(request, service.model, duration_s, done))
        service.sinks.answered(record)
    except Exception as error:  # noqa: BLE001  (the status is sent already; the stream itself must tell)
        known = as_amanuensis_error(http, error)
        note_failure(http, known)
        yield _event(answers.StreamError(type="error", error=known.body()["error"]))
    finally:
        note_abandoned(http)


def _delta(before: str, event: WindowDone, duration_s: float) -> answers.TextDelta:
    """Return a window's text, so that all deltas joined give the whole, and how far it reaches in the audio."""
    text = event.transcript.text
    return {
        "type": "transcript.text.delta",
        "delta": separator(before, text) + text if before else text,
        "start": round(event.window.start_s, 3),
        "end": round(event.window.end_s, 3),
        "duration": round(duration_s, 3),
    }


def _done(
    request: Request, model: Model, duration_s: float, done: Sequence[WindowDone]
) -> answers.TextDone | answers.VerboseTextDone:
    if request.form.response_format == "verbose_json":
        whole = Transcription.of(request, model, duration_s, done)
        return {**as_verbose_json(whole, request.form.granularities), "type": "transcript.text.done"}
    text = join_texts(event.transcript.text for event in done)
    return {"type": "transcript.text.done", "text": text, "usage": usage(duration_s)}


def _event(document: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n".encode()
