"""bfp16, the block format in which XDNA2 multiplies bf16 fast: eight numbers share one exponent.

mlir-aie and IRON call it ``bfp16ebs8``. A kernel that emulates bf16 with it turns both operands into such blocks along
K, each number an integer of 8 bits times the block's power of two. The sums are float32.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Rounding = Literal["conv_even", "floor"]
"""To the nearest, ties to even; or down, as a core does unless its kernel sets the mode."""
ROUNDINGS: Final = get_args(Rounding)

BLOCK = 8
MANTISSA_BITS = 8
"""With the sign."""


def round_to_bfp16(values: NDArray[Any], rounding: Rounding = "conv_even") -> NDArray[np.float64]:
    """Return ``[k, n]`` as such a kernel sees it, in blocks of 8 along the first axis.

    Args:
        values: finite numbers; ``k`` is a multiple of 8.
        rounding: the mode of the cores.
    """
    k, n = values.shape
    blocks = values.reshape(k // BLOCK, BLOCK, n).astype(np.float64)
    _, exponent = np.frexp(np.abs(blocks).max(axis=1, keepdims=True))
    step = np.ldexp(1.0, exponent - (MANTISSA_BITS - 1))
    most = 2 ** (MANTISSA_BITS - 1) - 1
    whole = np.floor(blocks / step) if rounding == "floor" else np.rint(blocks / step)
    rounded: NDArray[np.float64] = np.clip(whole, -most - 1, most) * step
    return rounded.reshape(k, n)
