"""What a client of a live session says: OpenAI's events, read and checked."""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from deployments.shared.errors import InvalidRequestError, UnsupportedEventError

MAX_EVENT_ID: Final = 512  # characters: errors repeat it
MAX_SHOWN: Final = 100  # characters of an unknown type that its error repeats

UPDATES: Final = frozenset({"session.update", "transcription_session.update"})

NO_RESPONSES: Final = "This session transcribes and never responds"
NO_ITEMS: Final = "This service keeps no items; their texts are in the events that tell them"
UNSUPPORTED: Final = {
    "response.create": NO_RESPONSES,
    "response.cancel": NO_RESPONSES,
    "output_audio_buffer.clear": NO_RESPONSES,
    "conversation.item.create": "Items are made of audio: send it with input_audio_buffer.append",
    "conversation.item.delete": NO_ITEMS,
    "conversation.item.retrieve": NO_ITEMS,
    "conversation.item.truncate": NO_ITEMS,
}
"""Types of events that OpenAI's clients may send, and why they change nothing here."""


@dataclass(frozen=True, slots=True)
class UpdateSession:
    """The client sets what the session does.

    Attributes:
        session: what it wrote.
        is_beta: it writes as before the general availability of OpenAI's API.
    """

    session: dict[str, Any]
    is_beta: bool
    event_id: str | None


@dataclass(frozen=True, slots=True)
class AppendAudio:
    """More audio, in the format of the session."""

    audio: bytes
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class CommitAudio:
    """The audio so far is an utterance."""

    event_id: str | None


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """The audio so far is not wanted."""

    event_id: str | None


ClientEvent: TypeAlias = UpdateSession | AppendAudio | CommitAudio | ClearAudio


def read_document(text: str) -> dict[str, Any]:
    """Return the JSON object that a text message holds.

    Raises:
        InvalidRequestError: it holds none.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidRequestError(
            "A text message must be a JSON object with a type; send audio alone as binary messages"
        )
    return document


def event_id_of(document: dict[str, Any]) -> str | None:
    """Return the id that the client gave its event, if it did."""
    event_id = document.get("event_id")
    return event_id[:MAX_EVENT_ID] if isinstance(event_id, str) else None


def read_event(document: dict[str, Any]) -> ClientEvent:
    """Return the event that a client sent.

    Raises:
        InvalidRequestError: it is none, or not one for this service.
    """
    kind, event_id = str(document.get("type"))[:MAX_SHOWN], event_id_of(document)
    if kind == "input_audio_buffer.append":
        return AppendAudio(_audio(document.get("audio")), event_id)
    if kind == "input_audio_buffer.commit":
        return CommitAudio(event_id)
    if kind == "input_audio_buffer.clear":
        return ClearAudio(event_id)
    if kind in UPDATES:
        session = document.get("session")
        if not isinstance(session, dict):
            raise InvalidRequestError("session must be an object", param="session")
        return UpdateSession(session, kind == "transcription_session.update", event_id)
    if kind in UNSUPPORTED:
        raise UnsupportedEventError(f"{UNSUPPORTED[kind]}; {kind} changes nothing", param="type")
    raise InvalidRequestError(f"There is no event of the type {kind!r}; see docs/live.md", param="type")


def _audio(text: object) -> bytes:
    try:
        if isinstance(text, str):
            return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    raise InvalidRequestError("audio must be base64 of audio in the session's format", param="audio")
