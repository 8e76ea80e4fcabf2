"""Chooses the encoder's backend by name and loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, assert_never

from npu_encoder.backend import EncoderBackend

BackendName = Literal["openvino", "ctranslate2"]


def load_backend(model_dir: Path, *, backend: BackendName, precision: str = "auto", threads: int = 1) -> EncoderBackend:
    """Load the encoder of a CTranslate2 Whisper directory. Only the chosen runtime is imported.

    Args:
        model_dir: holds ``model.bin``.
        backend: the runtime.
        precision: for openvino ``auto``, ``bf16`` or ``f32``; for ctranslate2 a compute type such as ``int8``.
        threads: CPU threads that compute.

    Raises:
        ModelFormatError: if the directory holds no readable Whisper model.
        UnsupportedPrecisionError: if the device cannot compute in ``precision``.
    """
    match backend:
        case "openvino":
            from npu_encoder.openvino_backend import OpenVinoBackend  # noqa: PLC0415

            return OpenVinoBackend(model_dir, precision=precision, threads=threads)
        case "ctranslate2":
            from npu_encoder.ctranslate2_backend import CTranslate2Backend  # noqa: PLC0415

            return CTranslate2Backend(model_dir, compute_type=precision, threads=threads)
        case unknown:
            assert_never(unknown)
