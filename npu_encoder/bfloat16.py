"""bfloat16, the upper half of a float32, as bit patterns in uint16: NumPy has no such number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUIET_NAN = np.uint16(0x7FC0)


def to_bfloat16(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the bit patterns of the nearest bfloat16, ties to even; every NaN becomes the same quiet one."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    values = rounded.astype(np.uint16)
    # Rounding would turn some NaNs into infinity or zero.
    values[np.isnan(x)] = QUIET_NAN
    return values


def from_bfloat16(bits: NDArray[Any]) -> NDArray[np.float32]:
    """Return the numbers that bit patterns (uint16) mean; exact."""
    widened = bits.astype(np.uint32)
    widened <<= 16
    return widened.view(np.float32)
