"""What a client may send with a transcription: one validated form. A known parameter is honoured or rejected.

How the fields are written in a multipart form is the business of ``deployments.ingress.http.fields``.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from deployments.ingress.chunking import AnyStrategy
from deployments.ingress.voice_references import data_of
from deployments.shared.headers import PRIORITY_HEADER

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"]
Granularity = Literal["word", "segment"]
Extra = Literal["logprobs", "speaker_embeddings"]
PriorityName = Literal["high", "normal", "low"]

MAX_NAME = 256  # characters, of a model or a language: errors repeat it
MAX_LANGUAGES = 100
MAX_HOTWORDS = 2000  # characters: the model takes a few hundred tokens
MAX_URL = 2048  # characters
STREAMABLE = frozenset({"json", "text", "verbose_json", "diarized_json"})
WITH_SPEAKERS = frozenset({"verbose_json", "diarized_json"})
"""Formats with room for embeddings."""

MAX_SPEAKERS = 100
MAX_KNOWN_SPEAKERS = 16
ROUNDING = 1e-6
NAMES_LANGUAGES = "gpt-transcribe"
"""The model of OpenAI whose answers name the languages of the speech."""

LEAST_TEMPERATURE_STEP = 0.2
"""Whisper's own. Each step may load the model once more, so that no more than five are allowed."""


def detect_if_auto(value: object) -> object:
    """Return None, which has the language detected, for the word that other services have for it."""
    return None if isinstance(value, str) and value.strip().lower() == "auto" else value


def require_temperature_step(value: float) -> float:
    """Reject a step that leads through too many temperatures."""
    if 0 < value < LEAST_TEMPERATURE_STEP:
        raise ValueError(f"send 0, or a step from {LEAST_TEMPERATURE_STEP:g} to 1")
    return value


def require_data_url(value: str) -> str:
    """Reject what is no recording in a data URL."""
    data_of(value)
    return value


class TranscriptionForm(BaseModel):
    """The fields beside ``file``, as OpenAI names them, then this service's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str | None = Field(
        None, max_length=MAX_NAME, description="a name from `GET /v1/models`; default: the one model that is served"
    )
    language: Annotated[str | None, BeforeValidator(detect_if_auto)] = Field(
        None,
        max_length=MAX_NAME,
        description="ISO 639 code of two or three letters, with or without a region (`pt-BR`), or English name; "
        "default and `auto`: detected, in each window of a longer recording",
    )
    languages: tuple[Annotated[str, Field(max_length=MAX_NAME)], ...] = Field(
        (), max_length=MAX_LANGUAGES, description="as `language`, where it may be one of several: detected among these"
    )
    prompt: str | None = Field(None, description="text the model should believe came before")
    keywords: tuple[Annotated[str, Field(max_length=MAX_NAME)], ...] = Field(
        (), description="words and names that are likely to be spoken, so that they are spelled like this"
    )
    temperature: float = Field(0.0, ge=0, le=1, allow_inf_nan=False, description="0 is deterministic")
    response_format: ResponseFormat = "json"
    timestamp_granularities: tuple[Granularity, ...] = Field(
        (), description="what `response_format=verbose_json` shows; default: `segment`; also as `word,segment`"
    )
    include: tuple[Extra, ...] = Field(
        (),
        description="`logprobs`: the log probability of each token; needs `response_format=json`. "
        "`speaker_embeddings`: what each voice sounds like, 192 numbers; needs speakers, and "
        "`response_format=verbose_json` or `diarized_json`",
    )
    stream: bool = Field(
        False,
        description="server-sent events, one delta per window; `srt` and `vtt` come as a whole all the same",
    )
    chunking_strategy: AnyStrategy = Field(
        None, description="`auto`, which is what happens anyway, or what counts as speech, as a JSON object"
    )

    vad_filter: bool = Field(
        True,
        description="transcribe only where speech is found; false transcribes all of the audio, cut at quiet places",
    )
    audio_track: int | None = Field(
        None, ge=1, le=256, description="number of the audio track, from 1; default: the one marked as the default"
    )
    channels: Literal["mix", "separate"] = Field(
        "mix",
        description="`separate` transcribes each channel by itself, as of a call, and names its number as the speaker",
    )
    strict: bool = Field(
        False, description="refuse a recording that is damaged or cut off, instead of a warning beside what can be read"
    )
    hotwords: str | None = Field(
        None,
        description="the same as `keywords`, in one field, separated by commas; "
        f"both together have {MAX_HOTWORDS} characters at most",
    )
    beam_size: int | None = Field(None, ge=1, le=10, description="beams at temperature 0; default: as configured")
    callback_url: str | None = Field(
        None,
        max_length=MAX_URL,
        description="needs `async=true`: where to POST the job when it has ended; a host that the service allows",
    )
    temperature_inc: Annotated[float, AfterValidator(require_temperature_step)] | None = Field(
        None,
        ge=0,
        le=1,
        description="as whisper.cpp's: a text that is not good is searched for again at temperatures that grow by "
        f"this step, {LEAST_TEMPERATURE_STEP:g} at least; 0: at no other temperature; default: as configured",
    )
    priority: PriorityName | None = Field(None, description=f"overrides the header `{PRIORITY_HEADER}`")
    diarize: bool = Field(
        False,
        description="tell speakers apart and name them `A`, `B`, ... in the order in which they begin to speak; "
        "`response_format=diarized_json` does it too",
    )
    enable_diarization: bool = Field(False, description="the same as `diarize`")
    min_speakers: int | None = Field(None, ge=1, le=MAX_SPEAKERS, description="so many speakers at least")
    max_speakers: int | None = Field(None, ge=1, le=MAX_SPEAKERS, description="so many speakers at most")
    known_speaker_names: tuple[Annotated[str, Field(min_length=1, max_length=MAX_NAME)], ...] = Field(
        (), max_length=MAX_KNOWN_SPEAKERS, description="names of people who may speak"
    )
    known_speaker_references: tuple[Annotated[str, AfterValidator(require_data_url)], ...] = Field(
        (),
        max_length=MAX_KNOWN_SPEAKERS,
        description="for each name 2 to 10 s of that voice alone, as a data URL or a file; nothing is kept of it",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.streams and self.channels == "separate":
            raise ValueError("stream=true needs channels=mix: separate channels are put in order at the end")
        if self.asks_for_diarization and self.channels == "separate":
            raise ValueError("diarize contradicts channels=separate, where each channel is a speaker")
        if (self.min_speakers or 1) > (self.max_speakers or MAX_SPEAKERS):
            raise ValueError("min_speakers must not exceed max_speakers")
        if len(self.known_speaker_names) != len(self.known_speaker_references):
            raise ValueError("known_speaker_references must hold one recording for each of known_speaker_names")
        if len(set(self.known_speaker_names)) < len(self.known_speaker_names):
            raise ValueError("known_speaker_names has a name twice; send one recording per person")
        if self.language is not None and self.languages:
            raise ValueError("languages contradicts language: send the one that is spoken, or those that it may be")
        if self.beam_size and self.temperature:
            raise ValueError("beam_size needs temperature 0: a beam does not sample")
        if self.chunking_strategy and not self.vad_filter:
            raise ValueError("chunking_strategy contradicts vad_filter=false")
        if len(self.all_hotwords or "") > MAX_HOTWORDS:
            raise ValueError(f"keywords and hotwords together must not exceed {MAX_HOTWORDS} characters")
        return self

    @property
    def all_hotwords(self) -> str | None:
        """``keywords`` and ``hotwords`` in one, separated by commas; None where there is no word."""
        words = (word.strip() for word in (*self.keywords, self.hotwords or ""))
        return ", ".join(word for word in words if word) or None

    @property
    def asks_for_diarization(self) -> bool:
        """Whether speakers are to be told apart by their voices, whatever the format."""
        return self.diarize or self.enable_diarization

    @property
    def needs_diarizer(self) -> bool:
        """Whether speakers are told apart by their voices; separate channels are speakers already."""
        return self.channels == "mix" and (self.asks_for_diarization or self.response_format == "diarized_json")

    @property
    def names_speakers(self) -> bool:
        """Whether the answer says who speaks."""
        return self.channels == "separate" or self.needs_diarizer

    @property
    def wants_embeddings(self) -> bool:
        """Whether the answer has the embeddings of the speakers' voices."""
        return "speaker_embeddings" in self.include and self.needs_diarizer and self.response_format in WITH_SPEAKERS

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events: subtitles have none, and come as a whole as OpenAI's do."""
        return self.stream and self.response_format in STREAMABLE

    @property
    def fallback_temperatures(self) -> tuple[float, ...] | None:
        """The temperatures that ``temperature_inc`` leads through, up to 1; None where the service decides."""
        if self.temperature_inc is None:
            return None
        if self.temperature_inc == 0:
            return ()
        steps = int((1 - self.temperature) / self.temperature_inc + ROUNDING)
        return tuple(round(self.temperature + step * self.temperature_inc, 3) for step in range(1, steps + 1))

    @property
    def wants_logprobs(self) -> bool:
        """Whether the answer has log probabilities; OpenAI's has them in this format alone."""
        return "logprobs" in self.include and self.response_format == "json"

    @property
    def asks_for_languages(self) -> bool:
        """Whether plain answers name the languages that were spoken, as those of OpenAI's newer model do."""
        return bool(self.languages) or (self.model or "").startswith(NAMES_LANGUAGES)

    @property
    def granularities(self) -> frozenset[Granularity]:
        """What verbose_json shows; OpenAI's default is segments."""
        return frozenset(self.timestamp_granularities or ("segment",))

    @property
    def needs_word_times(self) -> bool:
        """Subtitles and segments are cut at sentence ends, which only word times can place; so is who speaks."""
        return self.names_speakers or self.response_format in {"srt", "vtt", "verbose_json"}
