"""What a live session does, and how its client is shown that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.live.audio_formats import G711_RATE, PCM_24_KHZ, AudioFormat
from deployments.ingress.live.session_updates import (
    BETA_FORMATS,
    Format,
    SessionChanges,
    TurnDetection,
    checked,
    read_changes,
)
from deployments.ingress.live.turn_detection import TurnOptions
from deployments.shared.errors import InvalidRequestError

Dialect: TypeAlias = Literal["ga", "beta"]
"""The form of the protocol: since its general availability, or before."""

LOGPROBS: Final = "item.input_audio_transcription.logprobs"
WORDS: Final = "item.input_audio_transcription.words"
SPEAKERS: Final = "item.input_audio_transcription.speakers"

MS: Final = 1000

BETA_NAMES: Final = {name: beta for beta, name in BETA_FORMATS.items()}
BETA_MODELS: Final = frozenset({"gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1"})
"""The models that the older form of the protocol can name."""

SHOWN: Final = ("model", "language", "languages", "keywords", "prompt", "known_speaker_names")


class UtteranceForm(TranscriptionForm):
    """What a client wants of each utterance. The turn detection has found its speech already."""

    vad_filter: bool = False
    words: bool = False
    speakers: bool = False

    @property
    def needs_word_times(self) -> bool:
        """Whether words are aligned with the audio."""
        return self.words or self.speakers

    @property
    def asks_for_diarization(self) -> bool:
        """Whether speakers are told apart."""
        return self.speakers

    @property
    def wants_embeddings(self) -> bool:
        """Whether it has to be known what the voices sound like: those of an utterance are looked for in the others."""
        return self.speakers


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a session does.

    Attributes:
        audio_format: of what the client sends.
        form: what it wants of each utterance.
        turns: what ends an utterance; None where the client says so itself.
        warnings: what of the latest update is not honoured, in whole sentences.
    """

    audio_format: AudioFormat = PCM_24_KHZ
    form: UtteranceForm = field(default_factory=lambda: UtteranceForm.model_validate({}))
    turns: TurnOptions | None = field(default_factory=TurnOptions)
    warnings: tuple[str, ...] = ()

    def updated(self, session: Mapping[str, Any], *, is_beta: bool) -> Configuration:
        """Return the configuration with what a client sets; what it leaves out stays as it is.

        Raises:
            InvalidRequestError: a field is unknown, or has a value that it cannot have.
        """
        changes = read_changes(session, is_beta=is_beta)
        return Configuration(
            audio_format=self.audio_format if changes.format is None else _audio_format(changes.format),
            form=_form(self.form, changes),
            turns=_turns(changes.turn_detection) if "turn_detection" in changes.model_fields_set else self.turns,
            warnings=tuple(_warnings(changes)),
        )

    @property
    def include(self) -> list[str]:
        """What the client asked for beside the text."""
        asked = {LOGPROBS: bool(self.form.include), WORDS: self.form.words, SPEAKERS: self.form.speakers}
        return [name for name, is_asked in asked.items() if is_asked]

    def document(self, dialect: Dialect, session_id: str, expires_at: int) -> dict[str, Any]:
        """Return the whole configuration as OpenAI's session object.

        Args:
            dialect: the form of the protocol.
            session_id: of this session.
            expires_at: when it ends at the latest, in seconds since the epoch.
        """
        document = self._beta_document(expires_at) if dialect == "beta" else self._ga_document()
        document |= {"id": session_id, "object": "realtime.transcription_session", "expires_at": expires_at}
        document["include"] = self.include or None
        if self.warnings:
            document["warnings"] = list(self.warnings)
        return document

    def _ga_document(self) -> dict[str, Any]:
        audio_format: dict[str, Any] = {"type": self.audio_format.name}
        if self.audio_format.rate != G711_RATE:
            audio_format["rate"] = self.audio_format.rate
        sent = {
            "format": audio_format,
            "noise_reduction": None,
            "transcription": self._transcription(),
            "turn_detection": self._turn_detection(),
        }
        return {"type": "transcription", "audio": {"input": sent}}

    def _beta_document(self, expires_at: int) -> dict[str, Any]:
        transcription = self._transcription()
        if transcription.get("model") not in BETA_MODELS:
            transcription.pop("model", None)
        return {
            "input_audio_format": BETA_NAMES[self.audio_format.name],
            "input_audio_noise_reduction": None,
            "input_audio_transcription": transcription,
            "modalities": ["text"],
            "turn_detection": self._turn_detection(),
            # The protocol demands one. Who has this session needs none: the operator makes keys.
            "client_secret": {"value": "", "expires_at": expires_at},
        }

    def _transcription(self) -> dict[str, Any]:
        return self.form.model_dump(mode="json", include=set(SHOWN), exclude_unset=True)

    def _turn_detection(self) -> dict[str, Any] | None:
        if self.turns is None:
            return None
        return {
            "type": "server_vad",
            "threshold": self.turns.threshold,
            "prefix_padding_ms": round(MS * self.turns.padding_s),
            "silence_duration_ms": round(MS * self.turns.silence_s),
        }


def _audio_format(asked: Format) -> AudioFormat:
    usual = PCM_24_KHZ.rate if asked.type == "audio/pcm" else G711_RATE
    rate = usual if asked.rate is None else asked.rate
    if (rate == G711_RATE) != (usual == G711_RATE):
        raise InvalidRequestError(
            "audio/pcm has a rate of 24000 or 16000, audio/pcmu and audio/pcma have 8000",
            param="session.audio.input.format.rate",
        )
    return AudioFormat(asked.type, rate)


def _form(form: UtteranceForm, changes: SessionChanges) -> UtteranceForm:
    fields = form.model_dump(exclude_unset=True)
    if changes.transcription is not None:
        fields |= changes.transcription.model_dump(exclude_unset=True, exclude={"delay"})
    if changes.include is not None:
        fields["include"] = ("logprobs",) if LOGPROBS in changes.include else ()
        fields["words"] = WORDS in changes.include
        fields["speakers"] = SPEAKERS in changes.include
    return checked(UtteranceForm, {name: value for name, value in fields.items() if value is not None})


def _turns(asked: TurnDetection | None) -> TurnOptions | None:
    if asked is None:
        return None
    usual = TurnOptions()
    return TurnOptions(
        usual.threshold if asked.threshold is None else asked.threshold,
        usual.padding_s if asked.prefix_padding_ms is None else asked.prefix_padding_ms / MS,
        usual.silence_s if asked.silence_duration_ms is None else asked.silence_duration_ms / MS,
    )


def _warnings(changes: SessionChanges) -> Iterator[str]:
    if changes.noise_reduction is not None:
        yield "noise_reduction changes nothing here: the model hears the audio as it is."
    if changes.transcription is not None and changes.transcription.delay is not None:
        yield "delay changes nothing here: text is sent when two transcriptions in a row agree on it."
    turns = changes.turn_detection
    if turns is not None and (turns.create_response or turns.interrupt_response):
        yield "create_response and interrupt_response change nothing here: a transcription session never responds."
