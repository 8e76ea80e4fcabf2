"""What a live session tells its client: OpenAI's events, as ``openai.types.realtime`` has them.

Each gets its ``event_id`` when it is sent. What is not OpenAI's says so.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias

from typing_extensions import TypedDict

from deployments.shared.errors import AmanuensisError, ErrorDetails


class SessionEvent(TypedDict):
    """What the session does, in full."""

    type: Literal["session.created", "session.updated", "transcription_session.updated"]
    session: dict[str, Any]


class SpeechStarted(TypedDict):
    """Somebody speaks."""

    type: Literal["input_audio_buffer.speech_started"]
    audio_start_ms: int
    """From the start of all audio, with the padding."""
    item_id: str


class SpeechStopped(TypedDict):
    """Nobody speaks any more."""

    type: Literal["input_audio_buffer.speech_stopped"]
    audio_end_ms: int
    """From the start of all audio, with the silence."""
    item_id: str


class Committed(TypedDict):
    """An utterance is complete."""

    type: Literal["input_audio_buffer.committed"]
    item_id: str
    previous_item_id: str | None


class Cleared(TypedDict):
    """The buffer is empty."""

    type: Literal["input_audio_buffer.cleared"]


class Content(TypedDict):
    """The audio of an utterance, which is not sent back."""

    type: Literal["input_audio"]
    transcript: None


class Item(TypedDict):
    """An utterance as a part of the conversation."""

    id: str
    object: Literal["realtime.item"]
    type: Literal["message"]
    role: Literal["user"]
    status: Literal["completed"]
    content: list[Content]


class ItemEvent(TypedDict):
    """An utterance has become a part of the conversation."""

    type: Literal["conversation.item.created", "conversation.item.added", "conversation.item.done"]
    item: Item
    previous_item_id: str | None


class Logprob(TypedDict):
    """One token, or the few that make one character together, and its log probability."""

    token: str
    bytes: list[int]
    logprob: float


class LiveWord(TypedDict):
    """A word, its times and who says it; not OpenAI's."""

    word: str
    start: float
    """Seconds from the start of all audio."""
    end: float
    speaker: NotRequired[str]


class LiveSegment(TypedDict):
    """A sentence, or the part of one that one speaker says; not OpenAI's."""

    text: str
    start: float
    """Seconds from the start of all audio."""
    end: float
    speaker: NotRequired[str]


class Usage(TypedDict):
    """How much audio was transcribed."""

    type: Literal["duration"]
    seconds: float


class Language(TypedDict):
    """A language that was spoken."""

    code: str


class TranscriptDelta(TypedDict):
    """More text of an utterance; all deltas joined are its transcript."""

    type: Literal["conversation.item.input_audio_transcription.delta"]
    item_id: str
    content_index: int
    delta: str


class TranscriptCompleted(TypedDict):
    """The whole text of an utterance."""

    type: Literal["conversation.item.input_audio_transcription.completed"]
    item_id: str
    content_index: int
    transcript: str
    usage: Usage
    languages: NotRequired[list[Language]]
    logprobs: NotRequired[list[Logprob]]
    words: NotRequired[list[LiveWord]]
    """Not OpenAI's, nor is what follows."""
    segments: NotRequired[list[LiveSegment]]


class TranscriptFailed(TypedDict):
    """An utterance has no text."""

    type: Literal["conversation.item.input_audio_transcription.failed"]
    item_id: str
    content_index: int
    error: ErrorDetails


class LiveErrorDetails(ErrorDetails):
    """What went wrong, and the client's event that it is about."""

    event_id: str | None


class LiveError(TypedDict):
    """An event was rejected, or the session ends."""

    type: Literal["error"]
    error: LiveErrorDetails


ServerEvent: TypeAlias = (
    SessionEvent
    | SpeechStarted
    | SpeechStopped
    | Committed
    | Cleared
    | ItemEvent
    | TranscriptDelta
    | TranscriptCompleted
    | TranscriptFailed
    | LiveError
)


def error_event(error: AmanuensisError, event_id: str | None = None) -> LiveError:
    """Return an error as an event.

    Args:
        error: what went wrong.
        event_id: of the client's event that it is about, if the client gave it one.
    """
    return {"type": "error", "error": {**error.body()["error"], "event_id": event_id}}


def item_event(
    kind: Literal["conversation.item.created", "conversation.item.added", "conversation.item.done"],
    item_id: str,
    previous_item_id: str | None,
) -> ItemEvent:
    """Return that an utterance has become a part of the conversation."""
    item: Item = {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_audio", "transcript": None}],
    }
    return {"type": kind, "item": item, "previous_item_id": previous_item_id}
