"""What a client writes in an update of its session, in either form of OpenAI's protocol: read and checked.

What a client leaves out is not among the ``model_fields_set`` of what is read: it stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.ingress.form import MAX_NAME
from deployments.shared.errors import InvalidRequestError, UnsupportedParameterError

Include: TypeAlias = Literal[
    "item.input_audio_transcription.logprobs",
    "item.input_audio_transcription.words",
    "item.input_audio_transcription.speakers",
]
FormatName: TypeAlias = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]

LONGEST_PADDING_MS: Final = 2000
LONGEST_SILENCE_MS: Final = 10_000
LONGEST_PROMPT: Final = 20_000  # characters: the model takes a few hundred tokens

BETA_FORMATS: Final[Mapping[str, FormatName]] = {
    "pcm16": "audio/pcm",
    "g711_ulaw": "audio/pcmu",
    "g711_alaw": "audio/pcma",
}

Checked = TypeVar("Checked", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Format(_Strict):
    """How the audio is encoded. A sample rate that is left out is the usual one of the format."""

    type: FormatName
    rate: Literal[24_000, 16_000, 8000] | None = None


class NoiseReduction(_Strict):
    """Read, and not honoured."""

    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = None


class Transcription(_Strict):
    """How the text of an utterance is found. ``delay`` is read, and not honoured."""

    model: str | None = None
    language: str | None = None
    languages: tuple[str, ...] | None = None
    keywords: tuple[str, ...] | None = None
    prompt: str | None = Field(None, max_length=LONGEST_PROMPT)
    known_speaker_names: tuple[str, ...] | None = None
    known_speaker_references: tuple[str, ...] | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class TurnDetection(_Strict):
    """What ends an utterance. The answers that a conversation would give then are none of this session's."""

    type: Literal["server_vad"] = "server_vad"
    threshold: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    prefix_padding_ms: int | None = Field(None, ge=0, le=LONGEST_PADDING_MS)
    silence_duration_ms: int | None = Field(None, ge=0, le=LONGEST_SILENCE_MS)
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: None = None
    eagerness: None = None


class SessionChanges(_Strict):
    """What a client sets, in whichever form it wrote it."""

    format: Format | None = None
    noise_reduction: NoiseReduction | None = None
    transcription: Transcription | None = None
    turn_detection: TurnDetection | None = None
    include: tuple[Include, ...] | None = None


class _Input(_Strict):
    format: Format | None = None
    noise_reduction: NoiseReduction | None = None
    transcription: Transcription | None = None
    turn_detection: TurnDetection | None = None


class _Audio(_Strict):
    input: _Input | None = None


class _Session(_Strict):
    type: Literal["transcription"]
    audio: _Audio | None = None
    include: tuple[Include, ...] | None = None


class _BetaSession(_Strict):
    input_audio_format: Literal["pcm16", "g711_ulaw", "g711_alaw"] | None = None
    input_audio_noise_reduction: NoiseReduction | None = None
    input_audio_transcription: Transcription | None = None
    turn_detection: TurnDetection | None = None
    include: tuple[Include, ...] | None = None
    modalities: tuple[Literal["text", "audio"], ...] | None = None
    client_secret: dict[str, Any] | None = None


def read_changes(session: Mapping[str, Any], *, is_beta: bool) -> SessionChanges:
    """Return what a client sets.

    Raises:
        InvalidRequestError: a field is unknown, or has a value that it cannot have.
    """
    changes = _beta_changes(session) if is_beta else _changes(session)
    if "transcription" in changes.model_fields_set and changes.transcription is None:
        raise InvalidRequestError("A transcription session needs its transcription; leave it out to keep it as it is")
    return changes


def checked(model: type[Checked], fields: Mapping[str, Any]) -> Checked:
    """Return the fields as ``model``.

    Raises:
        InvalidRequestError: they cannot be; says which field is wrong, and why.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(["session", *map(str, first["loc"])])[:MAX_NAME]
        message = f"{param}: {first['msg'].removeprefix('Value error, ')}"
        raise InvalidRequestError(message, param=param) from None


def _changes(session: Mapping[str, Any]) -> SessionChanges:
    if session.get("type") != "transcription":
        raise UnsupportedParameterError(
            'Only transcription is served here; send session.type = "transcription"', param="session.type"
        )
    read = checked(_Session, session)
    sent = read.audio.input if read.audio is not None and read.audio.input is not None else _Input()
    given = {name: getattr(sent, name) for name in sent.model_fields_set}
    return SessionChanges(include=read.include, **given)


def _beta_changes(session: Mapping[str, Any]) -> SessionChanges:
    read = checked(_BetaSession, session)
    given: dict[str, Any] = {"include": read.include}
    for name in read.model_fields_set - {"modalities", "client_secret", "include"}:
        given[name.removeprefix("input_audio_")] = getattr(read, name)
    if given.get("format") is not None:
        given["format"] = Format(type=BETA_FORMATS[given["format"]])
    return SessionChanges(**given)
