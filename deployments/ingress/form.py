"""What a client may send with a transcription: one validated form. A known parameter is honoured or rejected."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from deployments.shared.headers import PRIORITY_HEADER

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]
Granularity = Literal["word", "segment"]
PriorityName = Literal["high", "normal", "low"]

MAX_NAME = 256  # characters, of a model or a language: errors repeat it
MAX_HOTWORDS = 2000  # characters: the model takes a few hundred tokens
MAX_URL = 2048  # characters
STREAMABLE = frozenset({"json", "text", "verbose_json"})


def reject_speakers(value: object) -> object:
    """Accept every spelling of false."""
    if str(value).lower() in {"false", "0", "no", "off", ""}:
        return False
    raise ValueError("speakers are not told apart by this version; leave it out or send false")


NoSpeakers = Annotated[Literal[False], BeforeValidator(reject_speakers)]


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
    stream: bool = Field(
        False, description="server-sent events, one delta per window; needs `json`, `text` or `verbose_json`"
    )
    chunking_strategy: Literal["auto"] | None = Field(None, description="`auto` finds speech, as `vad_filter` does")

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
    priority: PriorityName | None = Field(None, description=f"overrides the header `{PRIORITY_HEADER}`")
    diarize: NoSpeakers = Field(False, description="only false: speakers are not told apart by this version")
    enable_diarization: NoSpeakers = Field(False, description="the same as `diarize`")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise ValueError("timestamp_granularities needs response_format=verbose_json")
        if self.stream and self.response_format not in STREAMABLE:
            raise ValueError(
                f"stream=true needs response_format json, text or verbose_json, not {self.response_format}"
            )
        if self.stream and self.channels == "separate":
            raise ValueError("stream=true needs channels=mix: separate channels are put in order at the end")
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
        """Subtitles and segments are cut at sentence ends, which only word times can place; so is who speaks."""
        return self.channels == "separate" or self.response_format in {"srt", "vtt", "verbose_json"}
