"""Jobs for tests: a store in a directory, and work that does as it is told."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.jobs.callback import Callbacks
from deployments.ingress.jobs.job import Job, JobRequest, StoredJob, new_id
from deployments.ingress.jobs.kept_response import KeptResponse
from deployments.ingress.jobs.runner import JobRunner, Report, Work
from deployments.ingress.jobs.store import JobStore
from deployments.ingress.request import Priority

MIB = 2**20
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AUDIO = b"never decoded here"
ANSWER = KeptResponse(200, {"content-type": "text/plain; charset=utf-8", "x-encoder-device": "cpu:test"}, b"text\n\n")


def new_job(priority: Priority = Priority.LOW, second: int = 0, **changes: Any) -> StoredJob:
    """A job that waits, created ``second`` seconds after the first."""
    fields: dict[str, Any] = {
        "id": new_id(),
        "status": "queued",
        "task": "transcribe",
        "client": "ann",
        "request_id": "request",
        "filename": "a.wav",
        "created_at": datetime.fromtimestamp(NOW.timestamp() + second, UTC),
    }
    request = JobRequest(form=TranscriptionForm.model_validate({"prompt": "Düsseldorf\n"}), priority=priority)
    return StoredJob(job=Job(**{**fields, **changes}), request=request)


def store_in(directory: Path, **bounds: Any) -> JobStore:
    """A store over a directory, which may have been another one's."""
    return JobStore(directory / "jobs", **{"max_jobs": 100, "max_bytes": 64 * MIB, "kept_s": 3600.0, **bounds})


def added(store: JobStore, stored: StoredJob | None = None, audio: bytes = AUDIO) -> str:
    """The id of a job that was taken."""
    stored = stored or new_job()
    store.add(stored, io.BytesIO(audio))
    return stored.id


def runner_of(store: JobStore, at_once: int = 1, is_ready: Callable[[], bool] = lambda: True) -> JobRunner:
    """A runner whose callbacks go nowhere."""
    return JobRunner(store, at_once, Callbacks(store, (), None), is_ready)


async def answers(_job: StoredJob, _audio: bytes, _report: Report) -> KeptResponse:
    """Work that is done at once."""
    return ANSWER


async def hangs(_job: StoredJob, _audio: bytes, _report: Report) -> KeptResponse:
    """Work that never ends."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@asynccontextmanager
async def runs(runner: JobRunner, work: Work = answers) -> AsyncIterator[None]:
    """The runner at work for as long as the context lasts, which is ten seconds at most."""
    async with asyncio.timeout(10), runner.running(work):
        yield


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    while not condition():  # noqa: ASYNC110  (no event tells of files)
        await asyncio.sleep(0.005)


def has_status(store: JobStore, job_id: str, *statuses: str) -> bool:
    """Whether a job is as it should be by now."""
    stored = store.get(job_id)
    return stored is not None and stored.job.status in statuses


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario in an event loop of its own."""

    async def whole() -> None:
        await asyncio.wait_for(scenario(), 20)

    asyncio.run(whole())
