"""bfp16, the block format in which XDNA2 multiplies bf16 fast: eight numbers share one exponent.

mlir-aie and IRON call it ``bfp16ebs8``. A kernel that emulates bf16 with it turns both operands into such blocks along
K, each number an integer of 8 bits times the block's power of two. The sums are float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 8
MANTISSA_BITS = 8
"""With the sign."""


def round_to_bfp16(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``[k, n]`` as such a kernel sees it, in blocks of 8 along the first axis; ties to even.

    Args:
        values: finite numbers; ``k`` is a multiple of 8.
    """
    k, n = values.shape
    blocks = values.reshape(k // BLOCK, BLOCK, n).astype(np.float64)
    _, exponent = np.frexp(np.abs(blocks).max(axis=1, keepdims=True))
    step = np.ldexp(1.0, exponent - (MANTISSA_BITS - 1))
    most = 2 ** (MANTISSA_BITS - 1) - 1
    rounded: NDArray[np.float64] = np.clip(np.rint(blocks / step), -most - 1, most) * step
    return rounded.reshape(k, n)
