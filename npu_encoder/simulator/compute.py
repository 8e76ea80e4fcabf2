"""Computes a GEMM from the device's images of its buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from npu_encoder.simulator.arguments import Gemm
from npu_encoder.simulator.buffers import Buffer
from npu_encoder.simulator.kernels import KernelShape
from npu_encoder.simulator.numerics import bf16_gemm, int8_gemm

INPUT_DTYPES = {"int8": np.int8, "bf16": np.uint16}
OUTPUT_DTYPES = {"int8": np.int32, "bf16": np.float32}


def compute(gemm: Gemm) -> None:
    """Write the whole product."""
    a, b, c = _operands(gemm)
    c[:] = _product(gemm.shape, a, b)


def compute_last_rows_of_tiles(gemm: Gemm) -> None:
    """Write the last row of each tile; everything else becomes one."""
    a, b, c = _operands(gemm)
    rows = slice(gemm.shape.tile[0] - 1, None, gemm.shape.tile[0])
    c[:] = 1
    c[rows] = _product(gemm.shape, a[rows], b)


def fill(gemm: Gemm, bits: int) -> None:
    """Write the same 32 bits into each element of the output."""
    _, _, c = _operands(gemm)
    c.view(np.uint32)[:] = bits


def _product(shape: KernelShape, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    if shape.precision == "int8":
        return int8_gemm(a, b)
    return bf16_gemm(a, b, rounding=shape.rounding, tile_k=shape.tile[1])


def _operands(gemm: Gemm) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    shape = gemm.shape
    dtype_in, dtype_out = INPUT_DTYPES[shape.precision], OUTPUT_DTYPES[shape.precision]
    return (
        _matrix(gemm.a, dtype_in, (shape.m, shape.k)),
        _matrix(gemm.b, dtype_in, (shape.k, shape.n)),
        _matrix(gemm.c, dtype_out, (shape.m, shape.n)),
    )


def _matrix(buffer: Buffer, dtype: Any, shape: tuple[int, int]) -> NDArray[Any]:
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    matrix: NDArray[Any] = buffer.device[:size].view(dtype).reshape(shape)
    return matrix
