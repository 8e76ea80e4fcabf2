"""Compares the encoder on the device with the CPU's: states and time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from npu_encoder.backend import EncoderBackend
from npu_encoder.errors import InaccurateError
from npu_encoder.loading import load_backend
from npu_encoder.npu.kernels import Kernel

CHECK_FRAMES: Final = 800
FRAMES_PER_S: Final = 100
ROUNDS: Final = 3

LOSS_PER_LAYER: Final = {"native": 3e-4, "bfp16": 1e-3, "int8": 2.5e-3}
"""How much of the cosine a layer may cost, by the rounding of its products: an error passes on from layer to layer.

On our simulator a layer of Whisper base costs 0.3e-4, 2e-4 and 5.5e-4. Published for hardware are, with softmax and
norms in bf16 too, 1.6e-4 (large-v3) and 2.7e-4 (small, IRON), both said to be good; and 43e-4 for large-v3 in int8,
said to be unusable, which this refuses.
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The device beside the CPU, on one window.

    Attributes:
        cosine: between the states of both, over the whole window.
        device_s: seconds for one window on the device, the best of some.
        cpu_s: the same on one core of the CPU.
        window_s: seconds of audio in the window.
    """

    cosine: float
    device_s: float
    cpu_s: float
    window_s: float

    def __str__(self) -> str:
        return (
            f"cosine to the CPU's float32 {self.cosine:.6f}; a window of {self.window_s:g} s takes "
            f"{1000 * self.device_s:.0f} ms, on one core of the CPU {1000 * self.cpu_s:.0f}"
        )


def least_cosine(n_layers: int, kernel: Kernel) -> float:
    """Return the cosine that an encoder of so many layers has to reach with such kernels."""
    rounding = kernel.bf16 if kernel.precision == "bf16" else kernel.precision
    return 1 - n_layers * LOSS_PER_LAYER[rounding]


def compare_with_cpu(model: Path, backend: EncoderBackend, kernel: Kernel) -> Comparison:
    """Encode the same window on the device and on the CPU.

    Args:
        model: a CTranslate2 Whisper directory.
        backend: the encoder on the device.
        kernel: one of its kernels.

    Raises:
        InaccurateError: if the states differ by more than the precision explains.
    """
    cpu = load_backend(model, backend="openvino", precision="f32")
    log_mel = _tones(cpu.dimensions.n_mels, min(CHECK_FRAMES, cpu.dimensions.max_frames))
    (states, device_s), (expected, cpu_s) = (_encode(encoder, log_mel) for encoder in (backend, cpu))
    cpu.close()
    cosine = float(np.vdot(states, expected) / (np.linalg.norm(states) * np.linalg.norm(expected)))
    n_layers = backend.dimensions.n_layers
    least = least_cosine(n_layers, kernel)
    if not cosine >= least:
        raise InaccurateError(
            f"The encoder in {kernel.precision} differs from the CPU's: cosine {cosine:.6f}, expected at least "
            f"{least:.4f} with {n_layers} layers, although single products are right. This precision may be too coarse "
            "for so deep a model: take bf16, or measure its word errors (amanuensis bench word-errors) first"
        )
    return Comparison(cosine, device_s, cpu_s, log_mel.shape[1] / FRAMES_PER_S)


def _tones(n_mels: int, n_frames: int) -> NDArray[np.float32]:
    """Return rising tones over a noise floor, within the range of a log-mel spectrogram."""
    mels, frames = np.mgrid[:n_mels, :n_frames].astype(np.float32)
    return np.ascontiguousarray(np.sin(0.3 * mels + 0.05 * frames) * np.exp(-mels / n_mels) - 0.4, np.float32)


def _encode(backend: EncoderBackend, log_mel: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Return the states and the seconds of the fastest of some rounds, after one that warms up."""
    states = np.empty((log_mel.shape[1] // 2, backend.dimensions.d_model), np.float32)
    backend.encode([log_mel], [states])
    took_s = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        backend.encode([log_mel], [states])
        took_s.append(time.monotonic() - began)
    return states, min(took_s)
