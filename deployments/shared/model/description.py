"""What the service must know about its model before anything is loaded: its card, vocabulary and dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from deployments.shared.errors import ConfigurationError
from deployments.shared.frames import BUCKETS, MEL_BINS, N_FRAMES, SAMPLE_RATE, frames_for
from deployments.shared.languages import LANGUAGES
from deployments.shared.model.files import CARD_FILE, PREPROCESSOR_FILE
from deployments.shared.model.finding import resolve
from deployments.shared.model.silence import usable_silence
from deployments.shared.settings import Settings
from npu_encoder.errors import ModelFormatError
from npu_encoder.silence import SILENCE_FILE
from npu_encoder.weights import MODEL_FILE, EncoderDimensions, read_dimensions

WINDOW_S = 30.0
MULTILINGUAL_TOKEN = ""
"""CTranslate2 takes a model for a multilingual one when its vocabulary has the empty token; English ones lack it."""
TOKENS: Final = TypeAdapter(frozenset[str])

AudioContext = Literal["full", "trimmed"]

MAX_ENCODER_BYTES: Final = 2 * 2**30
"""Memory for the weights of all window lengths together: OpenVINO packs them for each length anew."""

LEAST_LENGTHS: Final = 3
"""Window lengths that even a large model gets: 4.5, 10 and 30 s."""


class ModelCard(BaseModel):
    """``amanuensis.json`` beside a model's files: what the service cannot guess. Every field is optional."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    languages: tuple[str, ...] | None = None
    audio_context: AudioContext = "full"
    max_window_s: float = Field(default=WINDOW_S, ge=1, le=WINDOW_S)
    notice: str | None = None


class Preprocessor(BaseModel):
    """What ``preprocessor_config.json`` says about the log-mel; its other fields are Whisper's constants."""

    feature_size: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """The model that is served.

    Attributes:
        name: what clients ask for.
        path: a CTranslate2 Whisper directory.
        languages: ISO codes of the languages it transcribes.
        multilingual: whether it detects languages and translates.
        audio_context: ``full`` (30 s for every window) or ``trimmed``.
        max_window_s: longest window that it should be given, in seconds.
        notice: a warning every user should see.
        dimensions: sizes of its encoder.
        frame_buckets: lengths that a window's log-mel may have, in frames, ascending.
        silence: the file that stands for the silence behind a trimmed window (``npu_encoder.silence``); None where the
            context is full, or the model is trained for less.
    """

    name: str
    path: Path
    languages: tuple[str, ...]
    multilingual: bool
    audio_context: AudioContext
    max_window_s: float
    notice: str | None
    dimensions: EncoderDimensions
    frame_buckets: tuple[int, ...]
    silence: Path | None = None


def load_model(settings: Settings) -> Model:
    """Find or fetch ``settings.whisper_model``, and read what the service must know about it.

    Raises:
        ConfigurationError: no such model, it cannot be fetched, or its files are missing, wrong or malformed.
    """
    path = resolve(settings.whisper_model, settings.hub_token)
    name = Path(settings.whisper_model).name
    return describe(path, name, settings.audio_context, can_use_silence=settings.encoder_backend == "openvino")


def describe(
    path: Path,
    name: str,
    audio_context: Literal["auto", "full", "trimmed"] = "auto",
    *,
    can_use_silence: bool = True,
) -> Model:
    """Read the card, vocabulary and dimensions of the model in directory ``path``.

    Args:
        path: a CTranslate2 Whisper directory.
        name: what clients ask for, unless the card names the model.
        audio_context: the setting of that name.
        can_use_silence: whether the encoder's backend can.

    Raises:
        ConfigurationError: the files are malformed, or contradict each other; or the context shall be trimmed, which
            the model is not made for.
    """
    try:
        dimensions = read_dimensions(path)
    except ModelFormatError as error:
        raise ConfigurationError(f"The directory {path} holds no model that can be served: {error}") from error
    _check_mel_bins(path, dimensions.n_mels)
    card = _read_card(path)
    vocabulary = read_vocabulary(path)
    multilingual = MULTILINGUAL_TOKEN in vocabulary
    silence = None
    if card.audio_context == "full" and audio_context != "full" and can_use_silence:
        silence = usable_silence(path, must_be_good=audio_context == "auto")
    context = _audio_context(path, card, audio_context, silence)
    return Model(
        name=card.name or name,
        path=path,
        languages=card.languages or _languages(vocabulary, multilingual=multilingual),
        multilingual=multilingual,
        audio_context=context,
        max_window_s=card.max_window_s,
        notice=card.notice,
        dimensions=dimensions,
        frame_buckets=_frame_buckets(context, card.max_window_s, dimensions),
        silence=silence,
    )


def _audio_context(
    path: Path, card: ModelCard, asked: Literal["auto", "full", "trimmed"], silence: Path | None
) -> AudioContext:
    if asked == "full":
        return "full"
    if card.audio_context == "trimmed" or silence is not None:
        return "trimmed"
    if asked == "trimmed":
        raise ConfigurationError(
            f"The audio context cannot be trimmed: the model in {path} needs {SILENCE_FILE} for that, with "
            "encoder_backend: openvino. Make it with: amanuensis model tune"
        )
    return "full"


def _check_mel_bins(path: Path, n_mels: int) -> None:
    """Refuse weights whose input is no log-mel of Whisper's, or not the one that the model's own files ask for."""
    if n_mels not in MEL_BINS:
        raise ConfigurationError(
            f"The model in {path} takes {n_mels} mel bins; Whisper models take {' or '.join(map(str, MEL_BINS))}: "
            "convert one of those"
        )
    asked = _feature_size(path / PREPROCESSOR_FILE)
    if asked is not None and asked != n_mels:
        raise ConfigurationError(
            f"The file {path / PREPROCESSOR_FILE} asks for {asked} mel bins (feature_size), but the weights in "
            f"{MODEL_FILE} take {n_mels}: these files are of different models; fetch them again"
        )


def _feature_size(file: Path) -> int | None:
    """Return the mel bins that the model's preprocessor makes; None where the files leave it to the weights."""
    if not file.is_file():
        return None
    try:
        return Preprocessor.model_validate_json(file.read_bytes()).feature_size
    except ValidationError as error:
        raise _malformed(file, error) from None


def _read_card(path: Path) -> ModelCard:
    file = path / CARD_FILE
    if not file.is_file():
        return ModelCard()
    try:
        return ModelCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise _malformed(file, error) from None


def _malformed(file: Path, error: ValidationError) -> ConfigurationError:
    return ConfigurationError(f"The file {file} is malformed; correct it, or fetch it again: {error}")


def read_vocabulary(path: Path) -> frozenset[str]:
    """Return the tokens of the model in directory ``path``.

    Raises:
        ConfigurationError: the file of the vocabulary is malformed.
    """
    listed = path / "vocabulary.json"
    if not listed.is_file():
        return frozenset((path / "vocabulary.txt").read_text(encoding="utf-8").splitlines())
    try:
        return TOKENS.validate_json(listed.read_bytes())
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise ConfigurationError(f"The file {listed} is no list of tokens ({message}); fetch it again") from None


def _languages(vocabulary: frozenset[str], *, multilingual: bool) -> tuple[str, ...]:
    if not multilingual:
        return ("en",)
    return tuple(code for code in LANGUAGES if f"<|{code}|>" in vocabulary)


def _frame_buckets(context: AudioContext, max_window_s: float, dimensions: EncoderDimensions) -> tuple[int, ...]:
    if context == "full":
        return (N_FRAMES,)
    longest = frames_for(round(max_window_s * SAMPLE_RATE))
    lengths = tuple(frames for frames in BUCKETS if frames <= longest)
    affordable = max(LEAST_LENGTHS, MAX_ENCODER_BYTES // _encoder_bytes(dimensions))
    return every_so_many(lengths, affordable)


def every_so_many(lengths: tuple[int, ...], at_most: int) -> tuple[int, ...]:
    """Return so many of the lengths at most, spread evenly, the longest one always."""
    count = min(at_most, len(lengths))
    return tuple(lengths[(index + 1) * len(lengths) // count - 1] for index in range(count))


def _encoder_bytes(dimensions: EncoderDimensions) -> int:
    """Return the size of the encoder's layers in float32: four projections and an MLP of four times the width each."""
    return dimensions.n_layers * 12 * dimensions.d_model**2 * 4
