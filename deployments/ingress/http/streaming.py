"""A transcription as server-sent events, in OpenAI's form: one delta per window, then the whole.

While nothing happens there is a comment now and then, so that no proxy takes the connection for a dead one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping

from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from deployments.ingress.http import answers
from deployments.ingress.http.errors import as_amanuensis_error, note_abandoned, note_failure
from deployments.ingress.http.formats import as_verbose_json, diarized_segment, languages, logprobs, usage
from deployments.ingress.http.pauses import Event, EventsAndPauses, with_pauses
from deployments.ingress.http.state import service_of
from deployments.ingress.request import Request
from deployments.ingress.scheduling.pipeline import AudioReady, Events, WindowDone
from deployments.ingress.scheduling.queues import Entry
from deployments.ingress.scheduling.speakers import SpeakersFound
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.transcript.joining import separator
from deployments.ingress.transcription import Findings, Transcription

WAITING = b": waiting\n\n"
DONE = b"data: [DONE]\n\n"


async def stream(http: HttpRequest, request: Request, record: RequestRecord, entry: Entry, events: Events) -> Response:
    """Wait a while for the audio to be accepted, so that bad audio still gets its own status; then stream."""
    paced = with_pauses(events, _first(http, entry, events))
    first = await anext(paced)
    if isinstance(first, WindowDone | SpeakersFound):
        raise TypeError("the pipeline must say first what the audio holds")
    return _EventStream(http, _server_sent_events(http, request, record, paced, first), paced)


async def _first(http: HttpRequest, entry: Entry, events: Events) -> Event | None:
    """Wait for the first event. The request keeps its place in the queue here, because its stream may begin before."""
    with service_of(http).admission.take_over(entry):
        return await anext(events, None)


class _EventStream(StreamingResponse):
    """The response that ends its request, in whatever way it ends itself.

    Its client may be gone before the first event or between two. Then nobody asks the generator of the body for the
    next one, and one that never began would not even run its ``finally``.

    Args:
        body: what is sent.
        events: what the body is made of.
    """

    def __init__(self, http: HttpRequest, body: AsyncGenerator[bytes], events: EventsAndPauses) -> None:
        super().__init__(body, media_type="text/event-stream", headers={"cache-control": "no-store"})
        self._http = http
        self._generators = (body, events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            for generator in self._generators:
                await generator.aclose()
            note_abandoned(self._http)


async def _server_sent_events(
    http: HttpRequest, request: Request, record: RequestRecord, events: EventsAndPauses, first: AudioReady | None
) -> AsyncGenerator[bytes]:
    service, found, before = service_of(http), Findings(), ""
    try:
        if first is None:
            yield WAITING
        else:
            found.add(first)
        async for event in events:
            if event is None:
                yield WAITING
                continue
            found.add(event)
            if isinstance(event, WindowDone) and event.transcript.text:
                yield _event(_delta(request, before, event, found.audio.duration_s))
                before = event.transcript.text
        whole = Transcription.of(request, service.model, found)
        if request.form.response_format == "diarized_json":
            for segment in whole.segments:
                yield _event(diarized_segment(segment))
        yield _event(_done(request, whole))
        service.sinks.answered(record)
        yield DONE
    except Exception as error:  # noqa: BLE001  (the status is sent already; the stream itself must tell)
        known = as_amanuensis_error(http, error)
        note_failure(http, known)
        yield _event(answers.StreamError(type="error", error=known.body()["error"]))


def _delta(request: Request, before: str, event: WindowDone, duration_s: float) -> answers.TextDelta:
    """Return a window's text, so that all deltas joined give the whole, and how far it reaches in the audio."""
    text = event.transcript.text
    document: answers.TextDelta = {
        "type": "transcript.text.delta",
        "delta": separator(before, text) + text if before else text,
        "start": round(event.window.start_s, 3),
        "end": round(event.window.end_s, 3),
        "duration": round(duration_s, 3),
    }
    if request.form.wants_logprobs:
        document["logprobs"] = logprobs(event.transcript.logprobs)
    return document


def _done(request: Request, whole: Transcription) -> answers.TextDone | answers.VerboseTextDone:
    if request.form.response_format == "verbose_json":
        return {**as_verbose_json(whole, request.form), "type": "transcript.text.done"}
    document: answers.TextDone = {
        "type": "transcript.text.done",
        "text": whole.text,
        "usage": usage(whole.duration_s),
    }
    if request.form.asks_for_languages:
        document["languages"] = languages(whole)
    if request.form.wants_logprobs:
        document["logprobs"] = logprobs(whole.logprobs)
    if whole.warnings:
        document["warnings"] = list(whole.warnings)
    return document


def _event(document: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n".encode()
