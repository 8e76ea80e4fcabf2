"""OpenAI's ``chunking_strategy``: how a client wants speech to be found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from deployments.shared.contracts import VoiceOptions

LONGEST_PADDING_MS = 2000
LONGEST_SILENCE_MS = 10_000


class ChunkingStrategy(BaseModel):
    """`auto` leaves everything to the service, `server_vad` sets what counts as speech."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["auto", "server_vad"]
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="probability at which speech begins; default: 0.5, and less in very short audio",
    )
    prefix_padding_ms: int | None = Field(
        None, ge=0, le=LONGEST_PADDING_MS, description="audio kept before speech, in milliseconds; default: 400"
    )
    silence_duration_ms: int | None = Field(
        None, ge=0, le=LONGEST_SILENCE_MS, description="shortest pause that ends speech, in milliseconds; default: 320"
    )

    @property
    def voice(self) -> VoiceOptions:
        """The same for the voice detection."""
        return VoiceOptions(self.threshold, _seconds(self.silence_duration_ms), _seconds(self.prefix_padding_ms))


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def with_type(value: object) -> object:
    """Return the strategy that is named by its type alone as an object."""
    return {"type": value} if isinstance(value, str) else value


AnyStrategy = Annotated[
    ChunkingStrategy | None,
    BeforeValidator(with_type, json_schema_input_type=ChunkingStrategy | Literal["auto", "server_vad"] | None),
]
