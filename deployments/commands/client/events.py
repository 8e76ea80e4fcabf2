"""What the service sends while it transcribes, and at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.commands.client.service import ServiceError
from deployments.shared.errors import QueueTimeoutError

DATA = b"data: "


class Progress(BaseModel):
    """How far the text is, in seconds from the start of the audio, and how long the audio is."""

    model_config = ConfigDict(frozen=True)

    end_s: float = Field(validation_alias="end")
    duration_s: float = Field(validation_alias="duration")


class Segment(BaseModel):
    """A piece of the transcript of the size of a subtitle; times in seconds from the start of the audio."""

    model_config = ConfigDict(frozen=True)

    start_s: float = Field(validation_alias="start")
    end_s: float = Field(validation_alias="end")
    text: str
    speaker: str | None = None


class Summary(BaseModel):
    """What every format is made from."""

    model_config = ConfigDict(frozen=True)

    text: str
    language: str
    duration_s: float = Field(validation_alias="duration")
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Transcription:
    """The finished transcription.

    Attributes:
        summary: what every format is made from.
        document: all that the service said of it: OpenAI's ``verbose_json``.
    """

    summary: Summary
    document: dict[str, Any]


def read_transcription(lines: Iterable[bytes], heard: Callable[[Progress], None]) -> Transcription:
    """Return the transcription at the end of an answer of server-sent events.

    Args:
        lines: of the answer.
        heard: is told how far the text is.

    Raises:
        ServiceError: the service failed on the way, the answer ends early, or it cannot be understood.
    """
    for line in lines:
        if not line.startswith(DATA):
            continue
        try:
            event = _event(json.loads(line.removeprefix(DATA)))
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(f"This version does not understand the service's answer: {_reason(error)}") from error
        if isinstance(event, Transcription):
            return event
        if event is not None:
            heard(event)
    raise ServiceError("The answer of the service ended before the transcription did; try again")


def _event(document: dict[str, Any]) -> Progress | Transcription | None:
    """Return what one event says; None for a kind that this version does not know.

    Raises:
        ServiceError: the event is a failure.
    """
    match document.pop("type"):
        case "transcript.text.delta":
            return Progress.model_validate(document)
        case "transcript.text.done":
            return Transcription(Summary.model_validate(document), document)
        case "error":
            raise _failure(document["error"])
        case _:
            return None


def _failure(error: dict[str, Any]) -> ServiceError:
    """Return the error, with the status that it would have had if it had come before the stream."""
    status = QueueTimeoutError.status if error.get("type") == QueueTimeoutError.type else None
    return ServiceError(f"{error['code']}: {error['message']}", status)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
    return f"{type(error).__name__}: {error}"
