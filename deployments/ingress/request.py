"""One transcription that a client asks for, written down once."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.time_limit import TimeLimit
from deployments.shared.contracts import Task
from deployments.shared.urgency import HIGHEST


class Priority(enum.IntEnum):
    """Who gets the next free slot: the lower number is served first."""

    HIGH = HIGHEST
    NORMAL = 1
    LOW = 2

    @property
    def lower(self) -> Priority:
        """The next lower priority; the lowest has none below it."""
        return Priority(min(self + 1, Priority.LOW))

    @property
    def label(self) -> str:
        """The priority as clients, logs and metrics write it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose form has been read. Made at the edge; nothing changes it afterwards.

    What becomes of it stands in its ``RequestRecord``.

    Attributes:
        id: as in the ``x-request-id`` header.
        client: name of the API key that it came with.
        form: the fields that the client sent.
        audio: bytes of the uploaded file.
        filename: of the upload, as the client wrote it.
        replay_of: id of the failure that this request repeats; None for any other request.
        warnings: what of the form is not honoured, in whole sentences for the client.
        draft: whether a quick text is enough, because another one replaces it soon.
        language_before: ISO code of the language that was surely spoken just before; None where nobody knows.
    """

    id: str
    client: str
    task: Task
    form: TranscriptionForm
    audio: bytes
    filename: str
    priority: Priority
    time_limit: TimeLimit
    replay_of: str | None = None
    warnings: tuple[str, ...] = ()
    draft: bool = False
    language_before: str | None = None
