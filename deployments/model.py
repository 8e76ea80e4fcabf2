"""Finds the model directory and reads what the service must know about it before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deployments.audio import SAMPLE_RATE
from deployments.audio.frames import BUCKETS, N_FRAMES, frames_for
from deployments.errors import ConfigurationError
from deployments.settings import Settings
from deployments.text.languages import LANGUAGES
from npu_encoder.errors import ModelFormatError
from npu_encoder.weights import EncoderDimensions, read_dimensions

MODEL_FILE = "model.bin"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "amanuensis.json"
WINDOW_S = 30.0
MULTILINGUAL_TOKEN = ""
"""CTranslate2 takes a model for a multilingual one when its vocabulary has the empty token; English ones lack it."""

PROJECT_ROOT = Path(__file__).resolve().parents[1]

AudioContext = Literal["full", "trimmed"]


class ModelCard(BaseModel):
    """``amanuensis.json`` beside a model's files: what the service cannot guess. Every field is optional."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    languages: tuple[str, ...] | None = None
    audio_context: AudioContext = "full"
    max_window_s: float = Field(default=WINDOW_S, ge=1, le=WINDOW_S)
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """The model that is served.

    Attributes:
        name: what clients ask for.
        path: a CTranslate2 Whisper directory.
        languages: ISO codes it transcribes.
        multilingual: whether it detects languages and translates.
        audio_context: ``full`` (30 s for every window) or ``trimmed``.
        max_window_s: longest window that it should be given.
        notice: a warning every user should see.
        dimensions: of its encoder.
        frame_buckets: the lengths a window's log-mel may have, in frames, ascending.
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


def load_model(settings: Settings) -> Model:
    """Resolves ``settings.whisper_model`` and reads the model's card, vocabulary and dimensions.

    Raises:
        ConfigurationError: no such model, or files that are missing or malformed; names the path to fill.
    """
    path = _find(settings.whisper_model, settings.hf_token.get_secret_value() if settings.hf_token else None)
    try:
        dimensions = read_dimensions(path)
    except ModelFormatError as error:
        raise ConfigurationError(f"WHISPER_MODEL={settings.whisper_model}: {error}") from error
    card = _read_card(path)
    vocabulary = _read_vocabulary(path)
    multilingual = MULTILINGUAL_TOKEN in vocabulary
    context = card.audio_context if settings.audio_context == "auto" else settings.audio_context
    return Model(
        name=card.name or _default_name(settings.whisper_model),
        path=path,
        languages=card.languages or _languages(vocabulary, multilingual=multilingual),
        multilingual=multilingual,
        audio_context=context,
        max_window_s=card.max_window_s,
        notice=card.notice,
        dimensions=dimensions,
        frame_buckets=_frame_buckets(context, card.max_window_s),
    )


def _find(name: str, token: str | None) -> Path:
    for base in (Path.cwd(), PROJECT_ROOT):
        path = base / Path(name).expanduser()
        if path.is_dir():
            return _complete(path, name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigurationError(f"WHISPER_MODEL={name}: no such directory; {_what_to_place()}")
    return _complete(_download(name, token), name)


def _complete(path: Path, name: str) -> Path:
    missing = [file for file in (MODEL_FILE, TOKENIZER_FILE) if not (path / file).is_file()]
    if missing:
        raise ConfigurationError(f"WHISPER_MODEL={name}: {path} lacks {' and '.join(missing)}; {_what_to_place()}")
    return path


def _download(name: str, token: str | None) -> Path:
    """The hub's copy of a size name (``base``) or hub id, from the local cache where it is there already."""
    from faster_whisper.utils import _MODELS  # noqa: PLC0415  (half a second, and only needed for hub names)
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    repository = name if "/" in name else _MODELS.get(name)
    if repository is None:
        raise ConfigurationError(
            f"WHISPER_MODEL={name}: neither a directory nor a known size ({', '.join(sorted(_MODELS))})"
        )
    files = ["config.json", "preprocessor_config.json", MODEL_FILE, TOKENIZER_FILE, "vocabulary.*", CARD_FILE]
    try:
        return Path(snapshot_download(repository, allow_patterns=files, token=token))
    except (OSError, HfHubHTTPError, ValueError) as error:
        raise ConfigurationError(
            f"WHISPER_MODEL={name}: {repository} could not be fetched from the model hub "
            f"({type(error).__name__}). Without network, {_what_to_place(repository)}"
        ) from error


def _what_to_place(repository: str = "the model") -> str:
    return (
        f"place the files of {repository} ({MODEL_FILE}, config.json, {TOKENIZER_FILE}, vocabulary.json or .txt, "
        "preprocessor_config.json: a CTranslate2 conversion) in a directory and set WHISPER_MODEL to its path"
    )


def _read_card(path: Path) -> ModelCard:
    file = path / CARD_FILE
    if not file.is_file():
        return ModelCard()
    try:
        return ModelCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise ConfigurationError(f"{file} is malformed: {error}") from None


def _read_vocabulary(path: Path) -> frozenset[str]:
    listed, lines = path / "vocabulary.json", path / "vocabulary.txt"
    if listed.is_file():
        tokens: Any = json.loads(listed.read_text(encoding="utf-8"))
        return frozenset(tokens)
    if lines.is_file():
        return frozenset(lines.read_text(encoding="utf-8").splitlines())
    raise ConfigurationError(f"{path} lacks vocabulary.json (or .txt); {_what_to_place()}")


def _languages(vocabulary: frozenset[str], *, multilingual: bool) -> tuple[str, ...]:
    if not multilingual:
        return ("en",)
    return tuple(code for code in LANGUAGES if f"<|{code}|>" in vocabulary)


def _frame_buckets(context: AudioContext, max_window_s: float) -> tuple[int, ...]:
    if context == "full":
        return (N_FRAMES,)
    longest = frames_for(round(max_window_s * SAMPLE_RATE))
    return tuple(frames for frames in BUCKETS if frames <= longest)


def _default_name(whisper_model: str) -> str:
    return Path(whisper_model).name
