"""What is known of one job: what its client sees, and what it takes to run it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.request import Priority
from deployments.shared.contracts import Task
from deployments.shared.errors import AmanuensisError, ErrorDetails

ID: Final = re.compile(r"job_[0-9a-f]{32}")

Status = Literal["queued", "running", "done", "failed", "cancelled"]
End = Literal["done", "failed", "cancelled"]
CallbackStatus = Literal["pending", "delivered", "failed"]

MAX_LOST_RUNS: Final = 3
"""Runs that may be lost to the service's own fault. A recording that kills what works on it must not do so again and
again."""


class JobProgress(BaseModel):
    """How far a job has come."""

    model_config = ConfigDict(frozen=True)

    seconds_done: float = Field(description="seconds of the audio up to which the text is known")
    seconds: float = Field(description="length of the audio in seconds")
    windows_done: int = Field(description="windows of speech whose text is known")
    windows: int = Field(description="windows of speech in the audio")


class JobCallback(BaseModel):
    """The request that tells somebody of the end of a job."""

    model_config = ConfigDict(frozen=True)

    url: str
    status: CallbackStatus = Field(default="pending", description="`failed`: nobody took it, and it is not tried again")
    attempts: int = Field(default=0, description="requests that were sent")
    reason: str | None = Field(default=None, description="why the latest one was not taken")


class Job(BaseModel):
    """One job, as its client sees it. Times in UTC."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(pattern=f"^{ID.pattern}$")
    object: Literal["job"] = "job"
    status: Status
    task: Task
    client: str = Field(description="name of the API key that it came with")
    request_id: str = Field(description="as in the `x-request-id` of the request that made it")
    filename: str = Field(description="name of the upload, as its client wrote it")
    created_at: AwareDatetime
    started_at: AwareDatetime | None = Field(default=None, description="start of the latest run; null: none has begun")
    finished_at: AwareDatetime | None = Field(default=None, description="end of the job, in whatever way")
    progress: JobProgress | None = Field(default=None, description="null until the audio is read")
    error: ErrorDetails | None = Field(default=None, description="why it failed; null where it did not")
    callback: JobCallback | None = Field(default=None, description="null where no `callback_url` was sent")

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be done for it."""
        return self.finished_at is not None


class JobRequest(BaseModel):
    """What it takes to run a job, beside its audio."""

    model_config = ConfigDict(frozen=True)

    form: TranscriptionForm
    priority: Priority
    traceparent: str | None = None
    warnings: tuple[str, ...] = ()


class StoredJob(BaseModel):
    """A job as it lies on disk. Each change gives a new one, or the same where it does not apply.

    Attributes:
        lost_runs: runs that the service lost by its own fault.
    """

    model_config = ConfigDict(frozen=True)

    job: Job
    request: JobRequest
    lost_runs: int = 0

    @property
    def id(self) -> str:
        """The id of the job."""
        return self.job.id

    @property
    def is_running(self) -> bool:
        """Whether a run of it has begun and not ended."""
        return self.job.status == "running"

    @property
    def is_last_run(self) -> bool:
        """Whether the job fails if this run is lost too."""
        return self.lost_runs + 1 >= MAX_LOST_RUNS

    def begun(self, now: datetime) -> StoredJob:
        """Return it with a run that begins now."""
        return self._with({"status": "running", "started_at": now, "progress": None})

    def advanced(self, progress: JobProgress) -> StoredJob:
        """Return it with what its run has done so far."""
        return self._with({"progress": progress}) if self.is_running else self

    def put_back(self) -> StoredJob:
        """Return it waiting again, as if its run had not begun."""
        return self._with({"status": "queued", "progress": None}) if self.is_running else self

    def lost(self) -> StoredJob:
        """Return it waiting again, with one more lost run."""
        if not self.is_running:
            return self
        return self.put_back().model_copy(update={"lost_runs": self.lost_runs + 1})

    def ended(self, status: End, now: datetime, error: AmanuensisError | None = None) -> StoredJob:
        """Return it at its end; a job that has ended stays as it is."""
        if self.job.has_ended:
            return self
        details = None if error is None else error.body()["error"]
        return self._with({"status": status, "finished_at": now, "error": details})

    def called_back(self, callback: JobCallback) -> StoredJob:
        """Return it with what became of its callback."""
        return self._with({"callback": callback})

    def _with(self, changes: Mapping[str, Any]) -> StoredJob:
        return self.model_copy(update={"job": self.job.model_copy(update=changes)})


def new_id() -> str:
    """Return an id that nobody can guess."""
    return f"job_{secrets.token_hex(16)}"


def is_id(text: str) -> bool:
    """Return whether ``text`` could be a job's id; nothing else may become part of a path."""
    return ID.fullmatch(text) is not None
