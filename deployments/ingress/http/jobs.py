"""``async=true`` and ``/v1/jobs``: recordings that are answered later. A client sees its own jobs, an operator all."""

from __future__ import annotations

import asyncio

from starlette.datastructures import UploadFile
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.http import answers
from deployments.ingress.http.advice import advice
from deployments.ingress.http.body import declared_length, reject_declared_length
from deployments.ingress.http.forms import ReceivedForm, job_priority_of, parse_form, priority_of, require_multipart
from deployments.ingress.http.job_runs import request_of
from deployments.ingress.http.multipart import multipart_form
from deployments.ingress.http.state import service_of, state_of
from deployments.ingress.jobs.job import Job, JobCallback, JobRequest, StoredJob, new_id
from deployments.ingress.jobs.runner import JobRunner
from deployments.ingress.service import TranscriptionService
from deployments.shared.contracts import Task
from deployments.shared.errors import (
    InvalidAudioError,
    InvalidRequestError,
    JobCancelledError,
    JobNotDoneError,
    JobNotFoundError,
    JobsDisabledError,
)
from deployments.shared.headers import LOCATION_HEADER, TIMEOUT_HEADER
from deployments.shared.memory.spool import room_needed

ASYNC = "async"
TRUTH = {"true": True, "1": True, "false": False, "0": False}
ACCEPTED = 202


def is_async(http: HttpRequest) -> bool:
    """Return whether a transcription is asked for as a job.

    Raises:
        InvalidRequestError: the query says neither yes nor no.
    """
    asked = http.query_params.get(ASYNC, "false").lower()
    if asked not in TRUTH:
        raise InvalidRequestError(f"{ASYNC} must be true or false", param=ASYNC)
    return TRUTH[asked]


def reject_callback(form: TranscriptionForm) -> None:
    """Reject a callback where the answer comes at once.

    Raises:
        InvalidRequestError: the form names one.
    """
    if form.callback_url is not None:
        raise InvalidRequestError("callback_url needs the query async=true", param="callback_url")


async def submit_job(http: HttpRequest, task: Task) -> Response:
    """Keep the upload and answer with the job that will transcribe it."""
    service, jobs = service_of(http), _jobs(http)
    service.admission.refuse_if_closed()
    reject_declared_length(http.headers, service.settings.max_upload_bytes)
    require_multipart(http.headers)
    priority_of(None, http.headers)
    _reject_timeout(http)
    size = declared_length(http.headers) or service.settings.max_upload_bytes
    with room_needed():
        async with jobs.uploading(size), multipart_form(http) as fields:
            received = parse_form(fields)
            stored = _new_job(http, task, received)
            _check(service, jobs, stored, received.upload)
            await asyncio.to_thread(jobs.store.add, stored, received.upload.file)
    jobs.wake()
    location = f"{http.scope.get('root_path', '')}/v1/jobs/{stored.id}"
    return answers.JOB.response(stored.job, ACCEPTED, {LOCATION_HEADER: location})


def list_jobs(http: HttpRequest) -> Response:
    mine = [stored.job for stored in _jobs(http).store.all() if _may_see(http, stored)]
    return answers.JOB_LIST.response({"object": "list", "data": mine[::-1]})


async def one_job(http: HttpRequest) -> Response:
    """One route for both methods, so that ``Allow`` names both."""
    stored = await asyncio.to_thread(_find, http)
    if http.method != "DELETE":
        return answers.JOB.response(stored.job)
    if stored.job.has_ended:
        return await _forget(http, stored.id)
    cancelled = await _jobs(http).cancel(stored.id)
    if cancelled is None:
        raise JobNotFoundError.of(stored.id)
    return answers.JOB.response(cancelled.job)


def job_result(http: HttpRequest) -> Response:
    """Answer as the request would have been answered without ``async=true``."""
    job = _find(http).job
    if job.status == "cancelled":
        raise JobCancelledError("This job was cancelled and has no result; send the recording again")
    if not job.has_ended:
        raise JobNotDoneError(f"This job is {job.status}; ask for its result when GET /v1/jobs/{job.id} says done")
    kept = _jobs(http).store.response(job.id)
    if kept is None:  # deleted since
        raise JobNotFoundError.of(job.id)
    return Response(kept.body, kept.status, kept.headers)


def _jobs(http: HttpRequest) -> JobRunner:
    jobs = service_of(http).jobs
    if jobs is None:
        raise JobsDisabledError.without_directory()
    return jobs


def _find(http: HttpRequest) -> StoredJob:
    job_id = str(http.path_params["job"])
    stored = _jobs(http).store.get(job_id)
    if stored is None or not _may_see(http, stored):
        raise JobNotFoundError.of(job_id)
    return stored


def _may_see(http: HttpRequest, stored: StoredJob) -> bool:
    state = state_of(http)
    return state.operator or stored.job.client == state.client


async def _forget(http: HttpRequest, job_id: str) -> Response:
    if not await asyncio.to_thread(_jobs(http).store.delete, job_id):
        raise JobNotFoundError.of(job_id)
    return answers.JOB_DELETED.response({"id": job_id, "deleted": True})


def _new_job(http: HttpRequest, task: Task, received: ReceivedForm) -> StoredJob:
    state, form = state_of(http), received.form
    job = Job(
        id=new_id(),
        status="queued",
        task=task,
        client=state.client,
        request_id=state.id,
        filename=received.upload.filename or "",
        created_at=_jobs(http).store.now(),
        callback=None if form.callback_url is None else JobCallback(url=form.callback_url),
    )
    request = JobRequest(
        form=form,
        priority=job_priority_of(form, http.headers),
        traceparent=http.headers.get("traceparent"),
        warnings=tuple(advice(form, received.unknown, service_of(http))),
    )
    return StoredJob(job=job, request=request)


def _check(service: TranscriptionService, jobs: JobRunner, stored: StoredJob, upload: UploadFile) -> None:
    """Reject now what could only fail later.

    Raises:
        InvalidRequestError: the form asks for what a job cannot give, or the file is empty.
    """
    form = stored.request.form
    if form.streams:
        raise InvalidRequestError(
            "stream=true needs an open connection; leave it out, or leave out async=true", param="stream"
        )
    if form.callback_url is not None:
        jobs.callbacks.check_url(form.callback_url)
    if not upload.size:
        raise InvalidAudioError.empty_file()
    service.decode_options(request_of(stored, b""))


def _reject_timeout(http: HttpRequest) -> None:
    if TIMEOUT_HEADER in http.headers:
        raise InvalidRequestError(
            f"A job takes as long as it needs; leave out {TIMEOUT_HEADER}, or async=true", param=TIMEOUT_HEADER
        )
