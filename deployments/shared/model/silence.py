"""The file that stands for the silence behind a model's trimmed windows: beside the model, or shipped for a known one.

``amanuensis model tune`` makes it; what it holds is in ``npu_encoder.silence``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from deployments.shared.errors import ConfigurationError
from deployments.shared.model.files import sha256
from npu_encoder.errors import ModelFormatError
from npu_encoder.silence import SILENCE_FILE, read_description
from npu_encoder.weights import MODEL_FILE

SHIPPED: Final = Path(__file__).with_name("shipped_silence")
"""A file per model that we have tuned, named after it."""


class SilenceDescription(BaseModel):
    """What a file of that kind says about itself.

    Attributes:
        model_sha256: of the ``model.bin`` that it was made for, in hexadecimal.
        model_bytes: size of that file.
        recordings: number of recordings it was made from.
        windows: number of windows of these.
        checked_windows: number of windows, of other recordings, that it was checked with.
        lost_nats: by how much less probable a token of the full window's text is with the trimmed one, as a mean
            logarithm.
        not_good: share of the checked windows that have to be encoded again in full.
        passed: whether that is little enough.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_sha256: str
    model_bytes: int
    recordings: int
    windows: int
    checked_windows: int
    lost_nats: float
    not_good: float
    passed: bool


def usable_silence(model_dir: Path, *, must_be_good: bool) -> Path | None:
    """Return the file for the model in ``model_dir``: its own, or else the shipped one; None if there is none.

    Args:
        model_dir: a CTranslate2 Whisper directory.
        must_be_good: whether a file that did not pass its check counts as none.

    Raises:
        ConfigurationError: the file beside the model cannot be read, or was made for other weights.
    """
    own = model_dir / SILENCE_FILE
    if own.is_file():
        description = describe_silence(own)
        if not _fits(description, model_dir):
            raise ConfigurationError(
                f"The file {own} was made for another {MODEL_FILE}; delete it, or make it again with: "
                "amanuensis model tune"
            )
        return own if description.passed or not must_be_good else None
    shipped = ((path, describe_silence(path)) for path in sorted(SHIPPED.glob("*.npz")))
    return next((path for path, description in shipped if _fits(description, model_dir)), None)


def describe_silence(path: Path) -> SilenceDescription:
    """Return what a file of that kind says about itself.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        found: dict[str, Any] = read_description(path)
        return SilenceDescription.model_validate(found)
    except (ModelFormatError, ValidationError) as error:
        raise ConfigurationError(f"The file {path} is no use: {error}") from error


def _fits(description: SilenceDescription, model_dir: Path) -> bool:
    model = model_dir / MODEL_FILE
    # The size first: reading gigabytes takes seconds.
    return model.stat().st_size == description.model_bytes and sha256(model) == description.model_sha256
