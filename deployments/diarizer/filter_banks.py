"""Log-mel filter banks as Kaldi computes them, which speaker embeddings are trained on.

Formulas: Kaldi, ``src/feat/feature-fbank.cc`` and ``mel-computations.cc``, with its default options for 80 banks and
no dither.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deployments.shared.frames import SAMPLE_RATE

BANKS: Final = 80
WINDOW: Final = 400
"""Samples of a frame: 25 ms."""

HOP: Final = 160
"""Samples from one frame to the next: 10 ms."""

FFT: Final = 512
PREEMPHASIS: Final = 0.97
LOWEST_HZ: Final = 20.0
FLOOR: Final = float(np.finfo(np.float32).eps)

Float32 = NDArray[np.float32]


def filter_banks(pcm: NDArray[np.int16]) -> Float32:
    """Return the logarithm of the energy in each bank.

    Args:
        pcm: ``[n_samples]``, 16 kHz mono; silence fills what is shorter than one frame up.

    Returns:
        ``[1 + (n_samples - 400) // 160, 80]`` float32.
    """
    samples = np.zeros(max(WINDOW, len(pcm)), np.float32)
    samples[: len(pcm)] = pcm
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    centred = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate((centred[:, :1], centred[:, :-1]), axis=1)
    emphasised = (centred - np.float32(PREEMPHASIS) * before) * _window()
    power = np.abs(np.fft.rfft(emphasised, FFT)[:, : FFT // 2]).astype(np.float32) ** 2
    banks: Float32 = np.log(np.maximum(power @ _banks(), np.float32(FLOOR)))
    return banks


@functools.cache
def _window() -> Float32:
    """Return Povey's window: a Hann window to the power of 0.85."""
    return np.hanning(WINDOW).astype(np.float32) ** np.float32(0.85)


@functools.cache
def _banks() -> Float32:
    """Return the triangles, ``[256, 80]``, that are even on the mel scale."""
    lowest, highest = _mel(LOWEST_HZ), _mel(SAMPLE_RATE / 2)
    edges = np.linspace(lowest, highest, BANKS + 2)
    bins = _mel(np.arange(FFT // 2) * SAMPLE_RATE / FFT)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hertz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    mel: NDArray[np.float64] = 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)
    return mel
