"""The GEMMs that simulated kernels compute."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rounding = Literal["conv_even", "floor"]

EXACT_PRODUCTS = 1024
"""So many products of two int8 sum to at most 2^24, so float32 holds every partial sum exactly, in any order."""


def int8_gemm(a: NDArray[np.int8], b: NDArray[np.int8]) -> NDArray[np.int32]:
    """Compute ``[m, k] @ [k, n]``, exactly."""
    c = np.zeros((a.shape[0], b.shape[1]), np.int32)
    for start in range(0, a.shape[1], EXACT_PRODUCTS):
        part = slice(start, start + EXACT_PRODUCTS)
        c += (a[:, part].astype(np.float32) @ b[part].astype(np.float32)).astype(np.int32)
    return c


def bf16_gemm(a: NDArray[np.uint16], b: NDArray[np.uint16], *, rounding: Rounding, tile_k: int) -> NDArray[np.float32]:
    """Compute ``[m, k] @ [k, n]`` of bfloat16 bit patterns, accumulated in float32.

    Args:
        a: bit patterns, ``[m, k]``.
        b: bit patterns, ``[k, n]``.
        rounding: ``conv_even`` rounds to the nearest float32; ``floor`` rounds the running sum down after each step
            of ``tile_k`` products, as an AIE core does when nobody sets its mode.
        tile_k: number of products per step.
    """
    if rounding == "conv_even":
        return bf16_to_float32(a) @ bf16_to_float32(b)
    wide_a, wide_b = bf16_to_float32(a).astype(np.float64), bf16_to_float32(b).astype(np.float64)
    c = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for start in range(0, a.shape[1], tile_k):
        part = slice(start, start + tile_k)
        c = _floor_to_float32(c + wide_a[:, part] @ wide_b[part])
    return c


def bf16_to_float32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Widen bfloat16, the upper half of a float32. An oracle shares no code with what it judges, so this is its own."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _floor_to_float32(x: NDArray[np.float64]) -> NDArray[np.float32]:
    nearest = x.astype(np.float32)
    return np.where(nearest > x, np.nextafter(nearest, np.float32(-np.inf)), nearest)
