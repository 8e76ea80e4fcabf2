"""What a client may send with a transcription: one validated form. A known parameter is honoured or refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile

from deployments.ingress.scheduling.admission import Priority
from deployments.shared.errors import InvalidRequestError, UnsupportedParameterError
from deployments.shared.headers import PRIORITY_HEADER, TIMEOUT_HEADER

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]
Granularity = Literal["word", "segment"]
PriorityName = Literal["high", "normal", "low"]

LIST_FIELDS = frozenset({"keywords", "timestamp_granularities"})
MAX_NAME = 256  # characters, of a model or a language: errors repeat it
MAX_HOTWORDS = 2000  # characters: the model takes a few hundred tokens
STREAMABLE = frozenset({"json", "text"})
UTF_8 = frozenset({b"utf-8", b"utf8", b"us-ascii"})

REFUSED: dict[str, str] = {
    "include": "log probabilities are not offered; verbose_json has avg_logprob for every segment",
    "known_speaker_names": "speakers are not told apart by this version",
    "known_speaker_references": "speakers are not told apart by this version",
    "min_speakers": "speakers are not told apart by this version",
    "max_speakers": "speakers are not told apart by this version",
}
"""Known parameters that cannot be honoured, with the reason."""


def _no_speakers(value: object) -> object:
    if str(value).lower() in {"false", "0", "no", "off", ""}:
        return False
    raise ValueError("speakers are not told apart by this version; leave it out or send false")


NoSpeakers = Annotated[Literal[False], BeforeValidator(_no_speakers)]


class TranscriptionForm(BaseModel):
    """The fields beside ``file``, as OpenAI names them, then this service's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str | None = Field(
        None, max_length=MAX_NAME, description="a name from `GET /v1/models`; default: the one model that is served"
    )
    language: str | None = Field(
        None,
        max_length=MAX_NAME,
        description="ISO-639-1 code or English name; default: detected, in each window of a longer recording",
    )
    prompt: str | None = Field(None, description="text the model should believe came before")
    keywords: tuple[Annotated[str, Field(max_length=MAX_NAME)], ...] = Field(
        (), description="words and names that are likely to be spoken, so that they are spelled like this"
    )
    temperature: float = Field(0.0, ge=0, le=1, allow_inf_nan=False, description="0 is deterministic")
    response_format: ResponseFormat = "json"
    timestamp_granularities: tuple[Granularity, ...] = Field(
        (), description="needs `response_format=verbose_json`; default: `segment`"
    )
    stream: bool = Field(False, description="server-sent events, one delta a window; needs `json` or `text`")
    chunking_strategy: Literal["auto"] | None = Field(None, description="`auto` finds speech, as `vad_filter` does")

    vad_filter: bool = Field(
        True,
        description="transcribe only where speech is found; false transcribes all of the audio, cut at quiet places",
    )
    hotwords: str | None = Field(
        None,
        description="the same as `keywords`, in one field, separated by commas; "
        f"both together have {MAX_HOTWORDS} characters at most",
    )
    beam_size: int | None = Field(None, ge=1, le=10, description="beams at temperature 0; default: as configured")
    priority: PriorityName | None = Field(None, description=f"overrides the header `{PRIORITY_HEADER}`")
    diarize: NoSpeakers = Field(False, description="only false: speakers are not told apart by this version")
    enable_diarization: NoSpeakers = Field(False, description="the same as `diarize`")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise ValueError("timestamp_granularities needs response_format=verbose_json")
        if self.stream and self.response_format not in STREAMABLE:
            raise ValueError(f"stream=true needs response_format json or text, not {self.response_format}")
        if self.beam_size and self.temperature:
            raise ValueError("beam_size needs temperature 0: a beam does not sample")
        if self.chunking_strategy == "auto" and not self.vad_filter:
            raise ValueError("chunking_strategy=auto contradicts vad_filter=false")
        if len(self.all_hotwords or "") > MAX_HOTWORDS:
            raise ValueError(f"keywords and hotwords together must not exceed {MAX_HOTWORDS} characters")
        return self

    @property
    def all_hotwords(self) -> str | None:
        """``keywords`` and ``hotwords`` in one, separated by commas; None where there is no word."""
        words = (word.strip() for word in (*self.keywords, self.hotwords or ""))
        return ", ".join(word for word in words if word) or None

    @property
    def granularities(self) -> frozenset[Granularity]:
        """What verbose_json shows; OpenAI's default is segments."""
        return frozenset(self.timestamp_granularities or ("segment",))

    @property
    def needs_word_times(self) -> bool:
        """Subtitles and segments are cut at sentence ends, which only word times can place."""
        return self.response_format in {"srt", "vtt", "verbose_json"}


def check_content_type(headers: Headers) -> None:
    """Called before the body is read.

    Raises:
        InvalidRequestError: it is no multipart form, or not in UTF-8.
    """
    content_type, options = parse_options_header(headers.get("content-type"))
    if content_type != b"multipart/form-data":
        raise InvalidRequestError("send the audio as multipart/form-data, in a field named `file`", param="file")
    # Python's other codecs include some that fail in their own ways, take quadratic time, or make lone surrogates.
    if options.get(b"charset", b"utf-8").lower() not in UTF_8:
        raise InvalidRequestError("the form must be encoded in UTF-8; leave the charset out", param="file")


def parse_form(form: FormData) -> tuple[TranscriptionForm, UploadFile]:
    """The fields and the file of a multipart form.

    Raises:
        InvalidRequestError: a field is missing, unknown, repeated or out of range; names it.
        UnsupportedParameterError: a field of the OpenAI API that this service cannot honour.
    """
    values: dict[str, Any] = {}
    upload: UploadFile | None = None
    for key, value in form.multi_items():
        name = key.removesuffix("[]")
        if name in REFUSED:
            raise UnsupportedParameterError(f"{name} is not supported: {REFUSED[name]}", param=name)
        if name == "file":
            upload = _only_file(upload, value)
        elif isinstance(value, UploadFile):
            raise InvalidRequestError(f"{name} must be a plain field, not a file", param=name)
        elif name in LIST_FIELDS:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise InvalidRequestError(f"{name} is given twice", param=name)
        else:
            values[name] = value
    if upload is None:
        raise InvalidRequestError("the form has no file; send the audio as multipart field `file`", param="file")
    return _validate(values), upload


def priority_of(form: TranscriptionForm | None, headers: Headers) -> Priority:
    """From the form, once it is read, else from the header, else normal."""
    header = headers.get(PRIORITY_HEADER, "normal").upper()
    if header not in Priority.__members__:
        raise InvalidRequestError(f"{PRIORITY_HEADER} must be high, normal or low", param=PRIORITY_HEADER)
    return Priority[form.priority.upper() if form and form.priority else header]


def timeout_of(headers: Headers, longest_s: float) -> float | None:
    """Return the seconds that the client gives this request; None where it leaves that to the service.

    Raises:
        InvalidRequestError: the header is no positive number, or more than ``longest_s``.
    """
    asked = headers.get(TIMEOUT_HEADER)
    if asked is None:
        return None
    try:
        seconds = float(asked)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise InvalidRequestError(f"{TIMEOUT_HEADER} must be a positive number of seconds", param=TIMEOUT_HEADER)
    if seconds > longest_s:
        raise InvalidRequestError(
            f"{TIMEOUT_HEADER} is {seconds:g}; send at most {longest_s:g} (max_request_timeout_s of this service)",
            param=TIMEOUT_HEADER,
        )
    return seconds


def _only_file(known: UploadFile | None, value: UploadFile | str) -> UploadFile:
    if known is not None:
        raise InvalidRequestError("the form has two files; send one a request", param="file")
    if not isinstance(value, UploadFile):
        raise InvalidRequestError("file must be an uploaded file with a filename, not a plain field", param="file")
    return value


def _validate(values: dict[str, Any]) -> TranscriptionForm:
    try:
        return TranscriptionForm.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else None
        if first["type"] == "extra_forbidden":
            known = ", ".join(TranscriptionForm.model_fields)
            raise InvalidRequestError(f"unknown parameter {name}; known are file, {known}", param=name) from None
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidRequestError(f"{name}: {message}" if name else message, param=name) from None
