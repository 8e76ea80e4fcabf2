"""What is recorded of a request that was accepted and could not be answered."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from deployments.ingress.request import Request
from deployments.ingress.telemetry.record import RequestRecord
from deployments.shared.contracts import Task
from deployments.shared.errors import AmanuensisError

ID = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}")
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
USER_DATA = frozenset({"hotwords", "keywords", "prompt", "known_speaker_names", "known_speaker_references"})
"""Parameters in which clients write about the audio, or send voices."""


class Failure(BaseModel):
    """One dead letter. Times in UTC, durations in seconds."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(pattern=f"^{ID.pattern}$", description="ids sort by time")
    request_id: str = Field(description="as in the response's `x-request-id`")
    client: str = Field(description="who asked")
    time: AwareDatetime = Field(description="of the failure")
    stage: str | None = Field(description="the stage at fault, as `/stats/stages` names it; null: none, or not known")
    status: int = Field(description="HTTP status; inside a stream that had begun, the one it would have been")
    code: str
    message: str
    received: AwareDatetime
    waited_s: float | None = Field(description="until a slot was granted; null: none was")
    failed_after_s: float = Field(description="from `received` to `time`")
    timeout_s: float = Field(description="what the request was given, by its client or by its length")
    task: Task
    priority: str
    parameters: dict[str, Any] = Field(description="the form; without prompt and hotwords unless the audio is kept")
    audio_bytes: int = Field(description="size of the upload")
    audio_suffix: str = Field(description="of the upload's file name, with its dot")
    audio_kept: bool = Field(description="the audio can be had, and the request replayed")
    replay_of: str | None = Field(description="the failure that this request repeated")

    @classmethod
    def of(cls, request: Request, record: RequestRecord, error: AmanuensisError, now: datetime) -> Failure:
        """Describe a request that failed at ``now``, with all that a replay needs."""
        return cls(
            id=new_id(now),
            request_id=request.id,
            client=request.client,
            time=now,
            stage=error.stage,
            status=error.status,
            code=error.code,
            message=error.message,
            received=datetime.fromtimestamp(record.received, UTC),
            waited_s=record.queue_s,
            failed_after_s=now.timestamp() - record.received,
            timeout_s=request.time_limit.seconds(record.audio_s),
            task=request.task,
            priority=request.priority.label,
            parameters=request.form.model_dump(mode="json", exclude_none=True, exclude={"priority"}),
            audio_bytes=len(request.audio),
            audio_suffix=suffix_of(request.filename),
            audio_kept=True,
            replay_of=request.replay_of,
        )

    def without_user_data(self) -> Failure:
        """Return the same record as it is kept when the audio is not."""
        parameters = {name: value for name, value in self.parameters.items() if name not in USER_DATA}
        return self.model_copy(update={"audio_kept": False, "parameters": parameters})


def suffix_of(filename: str) -> str:
    """Return the suffix of a file's name, with its dot; empty where it is no usual one."""
    suffix = PurePath(filename).suffix
    return suffix if SUFFIX.fullmatch(suffix) else ""


def new_id(time: datetime) -> str:
    """Return an id that sorts by ``time`` and is unique among all services that share a directory."""
    return f"{time.astimezone(UTC):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}"


def is_id(text: str) -> bool:
    """Return whether ``text`` could be a record's id; nothing else may become part of a path."""
    return ID.fullmatch(text) is not None
