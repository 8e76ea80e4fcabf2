"""The GEMMs that simulated kernels compute."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rounding = Literal["conv_even", "floor"]
Bf16 = Literal["native", "bfp16"]

EXACT_PRODUCTS = 1024
"""So many products of two int8 sum to at most 2^24, so float32 holds every partial sum exactly, in any order."""


def int8_gemm(a: NDArray[np.int8], b: NDArray[np.int8]) -> NDArray[np.int32]:
    """Compute ``[m, k] @ [k, n]``, exactly."""
    c = np.zeros((a.shape[0], b.shape[1]), np.int32)
    for start in range(0, a.shape[1], EXACT_PRODUCTS):
        part = slice(start, start + EXACT_PRODUCTS)
        c += (a[:, part].astype(np.float32) @ b[part].astype(np.float32)).astype(np.int32)
    return c


def bf16_gemm(a: NDArray[np.uint16], b: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Compute ``[m, k] @ [k, n]`` of bfloat16 bit patterns, accumulated in float32: no rounding mode shows in that."""
    return bf16_to_float32(a) @ bf16_to_float32(b)


def bfp16_gemm(a: NDArray[np.uint16], b: NDArray[np.uint16], *, rounding: Rounding) -> NDArray[np.float32]:
    """Compute ``bf16_gemm`` as a core does that emulates bf16: both operands become bfp16 blocks of 8 along k first.

    Args:
        a: bit patterns, ``[m, k]``.
        b: bit patterns, ``[k, n]``.
        rounding: ``conv_even`` rounds to the nearest; ``floor`` rounds down, as a core does when nobody sets its mode.
    """
    return _blocks(bf16_to_float32(a), rounding) @ _blocks(bf16_to_float32(b).T, rounding).T


def bf16_to_float32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Widen bfloat16, the upper half of a float32. An oracle shares no code with what it judges, so this is its own."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _blocks(x: NDArray[np.float32], rounding: Rounding) -> NDArray[np.float32]:
    """Round ``[rows, k]`` to integers of 8 bits times a power of two per 8 numbers of a row."""
    blocks = x.reshape(len(x), -1, 8)
    exponents = (blocks.view(np.uint32) >> 23 & 0xFF).max(axis=-1, keepdims=True).astype(np.int32) - 127
    scaled = np.ldexp(blocks, 6 - exponents)
    whole = np.floor(scaled) if rounding == "floor" else np.rint(scaled)
    rounded: NDArray[np.float32] = np.ldexp(np.clip(whole, -128, 127), exponents - 6).astype(np.float32)
    return rounded.reshape(x.shape)
