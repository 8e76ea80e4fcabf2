"""What is remembered of a request from the moment it is accepted, so that its failure can be recorded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

from starlette.requests import Request

from deployments.ingress.failures.record import Failure, new_id
from deployments.ingress.http.forms import TranscriptionForm
from deployments.ingress.scheduling.admission import Entry
from deployments.ingress.service import TranscriptionRequest
from deployments.shared.errors import AmanuensisError
from deployments.shared.headers import REPLAY_HEADER

SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request with a place in admission and a valid form.

    Attributes:
        filename: of the upload, as the client wrote it.
        entry: its place; knows how long it waited.
        client: who asked.
        replay_of: the failure that this request repeats.
    """

    asked: TranscriptionRequest
    form: TranscriptionForm
    filename: str
    entry: Entry
    client: str
    replay_of: str | None

    def failure(self, error: AmanuensisError, now: datetime) -> Failure:
        """The record of this request, had it failed at ``now``; with all that a replay needs."""
        limit = self.asked.time_limit
        return Failure(
            id=new_id(now),
            request_id=self.asked.request_id,
            client=self.client,
            time=now,
            stage=error.stage,
            status=error.status,
            code=error.code,
            message=error.message,
            received=datetime.fromtimestamp(limit.received, UTC),
            waited_s=self.entry.waited_s,
            failed_after_s=now.timestamp() - limit.received,
            timeout_s=limit.seconds(self.asked.costs.audio_s),
            task=self.asked.task,
            priority=self.asked.priority.name.lower(),
            parameters=self.form.model_dump(mode="json", exclude_none=True, exclude={"priority"}),
            audio_bytes=len(self.asked.audio),
            audio_suffix=self._suffix(),
            audio_kept=True,
            replay_of=self.replay_of,
        )

    def _suffix(self) -> str:
        suffix = PurePath(self.filename).suffix
        return suffix if SUFFIX.fullmatch(suffix) else ""


def accept(request: Request, asked: TranscriptionRequest, form: TranscriptionForm, filename: str, entry: Entry) -> None:
    """From here on, ``request`` is answered or its failure is recorded."""
    request.state.accepted = Accepted(
        asked,
        form,
        filename,
        entry,
        client=getattr(request.state, "client", "anonymous"),
        replay_of=request.headers.get(REPLAY_HEADER),
    )


def accepted_of(request: Request) -> Accepted | None:
    """What was accepted; None if the request was refused, or asks for no transcription."""
    return getattr(request.state, "accepted", None)
