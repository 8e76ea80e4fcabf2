"""Numbers for the device: symmetric int8 with a scale for each channel or token, and bfloat16 as bit patterns.

A weight gets one scale an output channel, once; an activation gets one a token, each time (in ``host_graphs.py``). Both
factor out of the integer product, ``x @ w ~ (x_int8 @ w_int8) * x_scale * w_scale``: "LLM.int8()" (Dettmers et al.,
2022), section 2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

INT8_MAX = np.float32(127)
# Smaller rows are as good as zero, and their scales would overflow.
MIN_ABSMAX = np.float32(1e-30)
BFLOAT16_NAN = np.uint16(0x7FC0)


class Quantized(NamedTuple):
    """``values * scales`` approximates the original.

    Attributes:
        values: int8 from -127 to 127, C-contiguous.
        scales: float32, one for each column.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]


def quantize_weight(weight: NDArray[np.float32]) -> Quantized:
    """``[n_out, n_in]`` to values ``[n_in, n_out]``, as a product takes them, and scales ``[n_out]``."""
    absmax = np.maximum(np.abs(weight).max(axis=1, keepdims=True), MIN_ABSMAX)
    values = np.rint(weight * (INT8_MAX / absmax)).astype(np.int8)
    return Quantized(np.ascontiguousarray(values.T), absmax[:, 0] / INT8_MAX)


def to_bfloat16(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bit patterns of the nearest bfloat16, ties to even; every NaN becomes the same quiet one."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    values = rounded.astype(np.uint16)
    # Rounding would carry a NaN over to infinity or zero.
    values[np.isnan(x)] = BFLOAT16_NAN
    return values


def from_bfloat16(bits: NDArray[Any]) -> NDArray[np.float32]:
    """The numbers that bfloat16 bit patterns (uint16) stand for; exact."""
    widened = bits.astype(np.uint32)
    widened <<= 16
    return widened.view(np.float32)
