"""The encoder on the CPU with CTranslate2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from npu_encoder.backend import HEALTHY, AnyArrays, DeviceHealth, check_windows, encode_one_by_one, encode_silence
from npu_encoder.errors import EncoderError, ModelFormatError, UnsupportedPrecisionError
from npu_encoder.weights import EncoderDimensions, read_dimensions


class CTranslate2Backend:
    """The encoder in CTranslate2. Windows run one by one, each on all threads: batches gain nothing on a CPU.

    Args:
        model_dir: CTranslate2 Whisper directory.
        compute_type: one of CTranslate2's names, for example ``int8``; ``auto`` is the fastest on this CPU.
        threads: number of threads that work on one window.

    Raises:
        ModelFormatError: if the directory holds no readable Whisper model.
        UnsupportedPrecisionError: if this CPU cannot compute in ``compute_type``.
    """

    def __init__(self, model_dir: Path, *, compute_type: str = "auto", threads: int = 1) -> None:
        _check_compute_type(compute_type)
        self._dimensions = read_dimensions(model_dir)
        try:
            self._model = ctranslate2.models.Whisper(
                str(model_dir), device="cpu", compute_type=compute_type, intra_threads=threads
            )
        except RuntimeError as error:
            raise ModelFormatError(f"CTranslate2 cannot load {model_dir}; convert the model again: {error}") from error

    @property
    def device(self) -> str:
        return f"cpu:ctranslate2-{self._model.compute_type}"

    @property
    def dimensions(self) -> EncoderDimensions:
        return self._dimensions

    @property
    def health(self) -> DeviceHealth:
        return HEALTHY

    def encode(self, log_mels: Sequence[NDArray[np.float32]], states: Sequence[NDArray[np.float32]]) -> str:
        check_windows(self._dimensions, log_mels, states)
        for log_mel, output in zip(log_mels, states, strict=True):
            batch_of_one = np.require(log_mel, requirements="W")[np.newaxis]
            encoded = self._model.encode(ctranslate2.StorageView.from_array(batch_of_one), to_cpu=True)
            output[:] = np.asarray(encoded)[0]
        return self.device

    def encode_each(
        self,
        waiting: Callable[[], AnyArrays | None],
        at_most: int,  # noqa: ARG002  (windows run one at a time)
    ) -> Iterator[tuple[AnyArrays, str | EncoderError]]:
        return encode_one_by_one(self, waiting)

    def probe_device(self) -> None:
        """Do nothing: if the CPU did not work, nobody could ask."""

    def warm_up(self, frames: Sequence[int]) -> None:
        encode_silence(self, frames)

    def close(self) -> None:
        self._model.unload_model()


def _check_compute_type(compute_type: str) -> None:
    supported = {"auto", "default", *ctranslate2.get_supported_compute_types("cpu")}
    if compute_type not in supported:
        raise UnsupportedPrecisionError(
            f"CTranslate2 on this CPU knows no compute type {compute_type!r}: choose one of {sorted(supported)}"
        )
