"""Audio that comes in pieces, brought to 16 kHz: the result does not depend on how it was cut."""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import NDArray

from deployments.shared.frames import SAMPLE_RATE

HALF = 24  # input samples that an output sample depends on, on either side: 1 ms at 24 kHz, 3 ms at 8 kHz
TAPS = 2 * HALF
PASSED = 0.9  # share of the lower rate's bandwidth that passes undamped
KAISER_BETA = 8.0  # about 80 dB of damping beyond


class Resampler:
    """A band-limited interpolation by a windowed sinc, for one stream of audio.

    Args:
        rate: samples per second of the input.
    """

    def __init__(self, rate: int) -> None:
        common = gcd(rate, SAMPLE_RATE)
        self._up, self._down = SAMPLE_RATE // common, rate // common
        self._filters = _filters(self._up, min(1.0, SAMPLE_RATE / rate))
        self._signal = np.zeros(HALF - 1, np.float32)  # silence before the first sample
        self._next = 0  # position of the next output sample in the signal, in steps of 1 / up input samples

    def __call__(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return the next samples at 16 kHz; the last milliseconds come with the next call.

        Args:
            samples: ``[n_samples]``, those that follow the samples of the call before.
        """
        self._signal = np.concatenate([self._signal, samples], dtype=np.float32)
        last = len(self._signal) - TAPS
        count = max(0, ((last + 1) * self._up - 1 - self._next) // self._down + 1)
        positions = self._next + self._down * np.arange(count)
        result = self._interpolate(positions)
        self._move_to(self._next + self._down * count)
        return result

    def _interpolate(self, positions: NDArray[np.int_]) -> NDArray[np.int16]:
        if not len(positions):
            return np.empty(0, np.int16)
        windows = np.lib.stride_tricks.sliding_window_view(self._signal, TAPS)[positions // self._up]
        values = np.einsum("ij,ij->i", windows, self._filters[positions % self._up])
        clipped: NDArray[np.int16] = np.clip(np.rint(values), -32768, 32767).astype(np.int16)
        return clipped

    def _move_to(self, position: int) -> None:
        """Forget the samples that no later output depends on."""
        passed = min(position // self._up, len(self._signal))
        self._signal = self._signal[passed:]
        self._next = position - passed * self._up


def _filters(phases: int, bandwidth: float) -> NDArray[np.float32]:
    """Return the filter of each phase, ``[phases, TAPS]``, each with a sum of one.

    Args:
        phases: positions of an output sample between two input samples.
        bandwidth: of the output, as a share of the input's.
    """
    distances = np.arange(TAPS)[None] - (HALF - 1) - np.arange(phases)[:, None] / phases
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0.0, 1 - (distances / HALF) ** 2)))
    filters: NDArray[np.float32] = (np.sinc(PASSED * bandwidth * distances) * window).astype(np.float32)
    filters /= filters.sum(axis=1, keepdims=True)
    return filters
