"""Numbers for the device: symmetric int8 with a scale for each channel or token, and bfloat16 as bit patterns.

A weight gets one scale an output channel, once; an activation gets one a token, each time. Both factor out of the
integer product, ``x @ w ~ (x_int8 @ w_int8) * x_scale * w_scale``: "LLM.int8()" (Dettmers et al., 2022), section 2.
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
        scales: float32, ``[rows, 1]`` of an activation, ``[columns]`` of a weight.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]


def quantize_weight(weight: NDArray[np.float32]) -> Quantized:
    """``[n_out, n_in]`` to values ``[n_in, n_out]``, as a product takes them, and scales ``[n_out]``."""
    values, scales = quantize_rows(weight.copy())
    return Quantized(np.ascontiguousarray(values.T), scales[:, 0])


def quantize_rows(x: NDArray[np.float32]) -> Quantized:
    """``[rows, columns]`` to values of the same shape and scales ``[rows, 1]``. Overwrites ``x``.

    A row of zeros stays zeros. NaN or infinity in a row makes its scale NaN or infinite, so that it is not hidden.
    """
    absmax = np.maximum(x.max(axis=1, keepdims=True), -x.min(axis=1, keepdims=True))
    np.maximum(absmax, MIN_ABSMAX, out=absmax)
    values = np.empty(x.shape, np.int8)
    with np.errstate(invalid="ignore"):
        x *= INT8_MAX / absmax
        np.rint(x, out=values, casting="unsafe")
    return Quantized(values, absmax / INT8_MAX)


def dequantize(
    product: NDArray[np.int32] | NDArray[np.float32],
    row_scales: NDArray[np.float32],
    column_scales: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The float32 result of a linear layer, ``[m, n]``.

    Args:
        product: ``[m, n]``, of the quantised activation and weight.
        row_scales: ``[m, 1]``, of the activation.
        column_scales: ``[n]``, of the weight.
        bias: ``[n]``.
    """
    x = np.multiply(product, row_scales, dtype=np.float32, casting="same_kind")
    x *= column_scales
    x += bias
    return x


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
