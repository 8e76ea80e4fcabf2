"""Symmetric int8 with one scale per channel or token.

A weight gets one scale per output channel, once; an activation gets one per token, each time (in ``host_graphs.py``).
Both factor out of the integer product, ``x @ w ~ (x_int8 @ w_int8) * x_scale * w_scale``: "LLM.int8()" (Dettmers et
al., 2022), section 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

INT8_MAX = np.float32(127)

MIN_ABSMAX = np.float32(1e-30)
"""Rows whose largest number is smaller are as good as zero, and their scales would overflow."""


class Quantized(NamedTuple):
    """A matrix in int8: ``values * scales`` approximates the original.

    Attributes:
        values: int8 from -127 to 127, C-contiguous.
        scales: float32, one per column.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]


def quantize_weight(weight: NDArray[np.float32]) -> Quantized:
    """Quantise ``[n_out, n_in]`` to values ``[n_in, n_out]``, as a product takes them, and scales ``[n_out]``."""
    absmax = np.maximum(np.abs(weight).max(axis=1, keepdims=True), MIN_ABSMAX)
    values = np.rint(weight * (INT8_MAX / absmax)).astype(np.int8)
    return Quantized(np.ascontiguousarray(values.T), absmax[:, 0] / INT8_MAX)
