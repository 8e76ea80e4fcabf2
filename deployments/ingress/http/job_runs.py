"""One run of a job: a request like any other, whose response is kept instead of sent."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from starlette.responses import Response

from deployments.ingress.http.errors import hidden_error
from deployments.ingress.http.responses import transcription_response
from deployments.ingress.jobs.job import JobProgress, StoredJob
from deployments.ingress.jobs.kept_response import CONTENT_TYPE, KeptResponse
from deployments.ingress.jobs.patience import is_refused
from deployments.ingress.jobs.runner import Report
from deployments.ingress.request import Request
from deployments.ingress.scheduling.pipeline import AudioReady, WindowDone
from deployments.ingress.service import TranscriptionService
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.time_limit import TimeLimit
from deployments.ingress.transcription import Transcription, collect
from deployments.shared.errors import AmanuensisError
from deployments.shared.headers import DEVICE_HEADER, WARNINGS_HEADER

TIME_LIMIT_S = 7 * 86400.0
"""No job takes a week: what hangs is found by the budgets of the stages, and what waits may wait."""

KEPT_HEADERS = (CONTENT_TYPE, DEVICE_HEADER, WARNINGS_HEADER)


@asynccontextmanager
async def running_jobs(service: TranscriptionService) -> AsyncIterator[None]:
    """Run the jobs of a service, if it keeps any, while the context lasts."""
    if service.jobs is None:
        yield
        return
    async with service.jobs.running(partial(run_job, service)):
        yield


async def run_job(service: TranscriptionService, stored: StoredJob, audio: bytes, report: Report) -> KeptResponse:
    """Return the response to a job.

    Raises:
        AmanuensisError: there is none; it was counted, unless the service had just no room.
    """
    job = stored.job
    record = RequestRecord(job.request_id, job.client, stored.request.traceparent)
    record.priority = stored.request.priority.label
    request = request_of(stored, audio)
    try:
        transcription = await _transcribe(service, request, record, report)
        response = transcription_response(transcription, request.form)
    except Exception as error:
        known = error if isinstance(error, AmanuensisError) else hidden_error(error, job.request_id)
        if not is_refused(known):
            service.tell_failure(known, record, request)
        raise known from error
    service.sinks.answered(record)
    return _kept(response)


def request_of(stored: StoredJob, audio: bytes) -> Request:
    """Return a job as the request that it is, received now."""
    return Request(
        id=stored.job.request_id,
        client=stored.job.client,
        task=stored.job.task,
        form=stored.request.form,
        audio=audio,
        filename=stored.job.filename,
        priority=stored.request.priority,
        time_limit=TimeLimit(time.monotonic(), TIME_LIMIT_S),
        warnings=stored.request.warnings,
    )


async def _transcribe(
    service: TranscriptionService, request: Request, record: RequestRecord, report: Report
) -> Transcription:
    service.refuse_if_broken()
    with service.admission.enter(request.priority, request.time_limit.deadline()) as entry:
        events = service.transcribe(request, record, entry)
        found = await collect(events, lambda audio, done: report(_progress(audio, done)))
    return Transcription.of(request, service.model, found)


def _progress(audio: AudioReady, done: Sequence[WindowDone]) -> JobProgress:
    """Return how far a recording is transcribed; behind its last window it is done to its end."""
    is_whole = len(done) == len(audio.windows)
    until_s = audio.duration_s if is_whole else done[-1].window.end_s if done else 0.0
    return JobProgress(
        seconds_done=round(until_s, 3),
        seconds=round(audio.duration_s, 3),
        windows_done=len(done),
        windows=len(audio.windows),
    )


def _kept(response: Response) -> KeptResponse:
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    return KeptResponse(response.status_code, headers, bytes(response.body))
