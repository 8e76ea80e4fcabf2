"""The JSON documents that routes answer with: each is built as the type it is documented as.

The types are typed dictionaries, because a dictionary costs nothing to build; pydantic writes them, and makes the
schemas of ``/openapi.json`` from them. The words below a field are its documentation there. Times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, NotRequired, TypeVar

from pydantic import TypeAdapter, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from deployments.ingress.jobs.job import Job
from deployments.shared.contracts import Task
from deployments.shared.errors import ErrorBody

T = TypeVar("T")


class JsonAnswer(Generic[T]):
    """The answers whose document is a ``T``.

    Attributes:
        name: of the type, and of its schema.
        adapter: writes documents, and knows their schema.
    """

    def __init__(self, document: type[T]) -> None:
        self.name = document.__name__
        self.adapter: TypeAdapter[T] = TypeAdapter(document)

    def response(self, document: T, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Return the response that carries ``document``."""
        return Response(self.adapter.dump_json(document), status, headers, media_type="application/json")


@with_config(use_attribute_docstrings=True)
class Document(TypedDict):
    """The base of all documents."""


class Error(Document, ErrorBody):
    """The reason why a request was not answered."""


# Transcriptions


class Usage(Document):
    """What is counted of a transcription."""

    type: Literal["duration"]
    seconds: int
    """Length of the audio in whole seconds, rounded up."""


class TranscriptionLanguage(Document):
    """A language that was spoken."""

    code: str
    """Its ISO code."""


class TokenLogprob(Document):
    """A token of the text, or the few that make one character together."""

    token: str
    bytes: list[int]
    """The token in UTF-8."""
    logprob: float
    """Natural logarithm of its probability."""


class TranscriptionJson(Document):
    """The answer to `response_format=json`."""

    text: str
    """The whole text."""
    usage: Usage
    languages: NotRequired[list[TranscriptionLanguage]]
    """There if the request names `languages[]` or the model `gpt-transcribe`."""
    logprobs: NotRequired[list[TokenLogprob]]
    """There if `include[]` has `logprobs`."""


class TranscriptionSegment(Document):
    """A sentence, or a part of one."""

    id: int
    """Number of the segment, from 0."""
    seek: int
    """Always 0; OpenAI's answer has it."""
    start: float
    """Where the segment begins, from the start of the audio."""
    end: float
    """Where it ends."""
    text: str
    tokens: list[int]
    """Text tokens of the window that the segment was heard in."""
    temperature: float
    """The temperature that gave this text."""
    avg_logprob: float
    """Mean log probability per token."""
    compression_ratio: float
    """Length of the text over its compressed length; above 2.4 it repeats itself."""
    no_speech_prob: float
    """Probability that the window holds no speech."""
    speaker: NotRequired[str]
    """Who speaks: with `diarize` a known name or a capital letter, with `channels=separate` the channel's number."""
    also_speaking: NotRequired[list[str]]
    """Who else speaks at the same time."""


class TranscriptionWord(Document):
    """One word."""

    word: str
    start: float
    """Where the word begins, from the start of the audio."""
    end: float
    """Where it ends."""
    probability: float
    """How sure the model is of it, from 0 to 1; 0 too where the text could not be aligned with the audio."""
    speaker: NotRequired[str]
    """As in segments."""


class TranscriptionVerboseJson(Document):
    """The answer to `response_format=verbose_json`."""

    task: Task
    language: str
    """English name of the text's language."""
    languages: list[TranscriptionLanguage]
    """What was spoken, the language of most of the speech first; empty where there is no text."""
    duration: float
    """Length of the audio."""
    text: str
    """The whole text."""
    segments: list[TranscriptionSegment]
    """Empty unless `timestamp_granularities` has `segment`."""
    usage: Usage
    device: str | None
    """The device that ran the encoder; null where there was nothing to encode."""
    words: NotRequired[list[TranscriptionWord]]
    """There if `timestamp_granularities` has `word`."""
    warnings: list[str]
    """What you should know of this answer, such as audio that could not be read; empty where all is well."""
    speakers: NotRequired[list[str]]
    """With `diarize`: all who speak, in the order in which they begin."""
    speaker_embeddings: NotRequired[dict[str, list[float]]]
    """There if `include[]` has `speaker_embeddings`: what each voice sounds like, a vector of length 1."""


class DiarizedSegment(Document):
    """What one speaker says; the event `transcript.text.segment` is the same."""

    type: Literal["transcript.text.segment"]
    id: str
    start: float
    """Where the segment begins, from the start of the audio."""
    end: float
    """Where it ends."""
    text: str
    speaker: str
    """A known name, or a capital letter in the order in which speakers begin; with `channels=separate` the channel."""
    also_speaking: NotRequired[list[str]]
    """Who else speaks at the same time."""


class TranscriptionDiarizedJson(Document):
    """The answer to `response_format=diarized_json`."""

    task: Task
    duration: float
    """Length of the audio."""
    text: str
    """The whole text."""
    segments: list[DiarizedSegment]
    usage: Usage
    warnings: list[str]
    """What you should know of this answer; empty where all is well."""
    speaker_embeddings: NotRequired[dict[str, list[float]]]
    """There if `include[]` has `speaker_embeddings`: what each voice sounds like, a vector of length 1."""


class TextDelta(Document):
    """An event of `stream=true`: the text that follows what was sent before."""

    type: Literal["transcript.text.delta"]
    delta: str
    start: float
    """Where the window of this text begins, from the start of the audio."""
    end: float
    """Where it ends."""
    duration: float
    """Length of the whole audio."""
    logprobs: NotRequired[list[TokenLogprob]]
    """There if `include[]` has `logprobs`."""


class TextDone(Document):
    """The last event of `stream=true`."""

    type: Literal["transcript.text.done"]
    text: str
    """The whole text."""
    usage: Usage
    languages: NotRequired[list[TranscriptionLanguage]]
    """There if the request names `languages[]` or the model `gpt-transcribe`."""
    logprobs: NotRequired[list[TokenLogprob]]
    """There if `include[]` has `logprobs`."""
    warnings: NotRequired[list[str]]
    """There if you should know something of this answer."""


class VerboseTextDone(TranscriptionVerboseJson):
    """The last event of `stream=true` with `response_format=verbose_json`."""

    type: Literal["transcript.text.done"]


class DetectedLanguage(Document):
    """The answer to `POST /detect-language`."""

    detected_language: str
    """English name of the language of the first speech."""
    language_code: str
    """Its ISO code."""


class StreamError(Document, ErrorBody):
    """The last event of `stream=true` where the text could not be completed."""

    type: Literal["error"]


# Jobs


class JobList(Document):
    """The jobs of the caller, newest first."""

    object: Literal["list"]
    data: list[Job]


class JobDeleted(Document):
    """What is left of a job that was forgotten."""

    id: str
    deleted: Literal[True]


# Models


class Model(Document):
    """A name that requests may give as their model."""

    id: str
    object: Literal["model"]
    created: int
    """Seconds since the epoch."""
    owned_by: str
    serves: str
    """The model behind the name."""
    languages: list[str]
    """ISO codes of the languages that the model transcribes."""
    translates: bool
    """Whether it translates to English."""
    notice: str | None
    """A warning that every user should see."""


class ModelList(Document):
    """All names that are served."""

    object: Literal["list"]
    data: list[Model]


# The document that describes them


class OpenApiDocument(Document):
    """An OpenAPI 3.1 document."""

    openapi: str
    info: dict[str, Any]
    security: list[dict[str, list[str]]]
    paths: dict[str, dict[str, Any]]
    components: dict[str, dict[str, Any]]


ERROR = JsonAnswer(Error)
TRANSCRIPTION = JsonAnswer(TranscriptionJson)
VERBOSE_TRANSCRIPTION = JsonAnswer(TranscriptionVerboseJson)
DIARIZED_TRANSCRIPTION = JsonAnswer(TranscriptionDiarizedJson)
DIARIZED_SEGMENT = JsonAnswer(DiarizedSegment)
TEXT_DELTA = JsonAnswer(TextDelta)
TEXT_DONE = JsonAnswer(TextDone)
VERBOSE_TEXT_DONE = JsonAnswer(VerboseTextDone)
DETECTED_LANGUAGE = JsonAnswer(DetectedLanguage)
STREAM_ERROR = JsonAnswer(StreamError)
JOB = JsonAnswer(Job)
JOB_LIST = JsonAnswer(JobList)
JOB_DELETED = JsonAnswer(JobDeleted)
MODEL = JsonAnswer(Model)
MODEL_LIST = JsonAnswer(ModelList)
OPENAPI = JsonAnswer(OpenApiDocument)
