"""The encoder with CTranslate2, on the CPU or on a GPU that it was built for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from npu_encoder.backend import HEALTHY, AnyArrays, DeviceHealth, check_windows, encode_one_by_one, encode_silence
from npu_encoder.errors import EncoderError, ModelFormatError, ProviderError, UnsupportedPrecisionError
from npu_encoder.weights import EncoderDimensions, read_dimensions

CTranslate2Device: TypeAlias = Literal["cpu", "cuda"]

NO_GPU: Final = (
    "CTranslate2 finds no GPU. Install the GPU's driver and a build of CTranslate2 for CUDA or ROCm, or set "
    "ctranslate2_device to cpu"
)


def has_device(device: CTranslate2Device) -> bool:
    """Return whether CTranslate2 can compute on a device of this machine."""
    return device == "cpu" or ctranslate2.get_cuda_device_count() > 0


class CTranslate2Backend:
    """The encoder in CTranslate2. Windows run one by one, each on all threads: batches gain nothing on a CPU.

    Args:
        model_dir: CTranslate2 Whisper directory.
        device: ``cuda`` is the GPU of builds for ROCm too.
        compute_type: one of CTranslate2's names, for example ``int8``; ``auto`` is the fastest on this device.
        threads: number of threads that work on one window.

    Raises:
        ModelFormatError: if the directory holds no readable Whisper model.
        ProviderError: if there is no GPU.
        UnsupportedPrecisionError: if the device cannot compute in ``compute_type``.
    """

    def __init__(
        self, model_dir: Path, *, device: CTranslate2Device = "cpu", compute_type: str = "auto", threads: int = 1
    ) -> None:
        if not has_device(device):
            raise ProviderError(NO_GPU)
        _check_compute_type(compute_type, device)
        self._device = device
        self._dimensions = read_dimensions(model_dir)
        try:
            self._model = ctranslate2.models.Whisper(
                str(model_dir), device=device, compute_type=compute_type, intra_threads=threads
            )
        except RuntimeError as error:
            raise ModelFormatError(f"CTranslate2 cannot load {model_dir}; convert the model again: {error}") from error

    @property
    def device(self) -> str:
        return f"{self._device}:ctranslate2-{self._model.compute_type}"

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
        """Do nothing: if the CPU did not work, nobody could ask, and of a GPU the next window tells."""

    def warm_up(self, frames: Sequence[int]) -> None:
        encode_silence(self, frames)

    def close(self) -> None:
        self._model.unload_model()


def _check_compute_type(compute_type: str, device: CTranslate2Device) -> None:
    supported = {"auto", "default", *ctranslate2.get_supported_compute_types(device)}
    if compute_type not in supported:
        raise UnsupportedPrecisionError(
            f"CTranslate2 on this {device.upper()} knows no compute type {compute_type!r}: "
            f"choose one of {sorted(supported)}"
        )
