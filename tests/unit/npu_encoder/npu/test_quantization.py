"""Conversion to int8, and the exact products of the host's reference executor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from npu_encoder.bfloat16 import from_bfloat16, to_bfloat16
from npu_encoder.npu.gemm import GemmWeight, NumpyGemm
from npu_encoder.npu.quantization import quantize_weight


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def product(x: NDArray[Any], weight: GemmWeight) -> NDArray[Any]:
    gemm = NumpyGemm()
    gemm.load(weight)
    return gemm.start(weight.name, x).result()


def test_weight_scales_belong_to_output_channels(rng: np.random.Generator) -> None:
    weight = rng.standard_normal((96, 48), np.float32) * np.logspace(-3, 3, 96, dtype=np.float32)[:, np.newaxis]
    values, scales = quantize_weight(weight)

    assert values.shape == (48, 96)
    assert values.flags.c_contiguous
    assert np.all(np.abs(values * scales - weight.T) <= 0.5001 * scales)


def test_zero_channels_stay_zeros() -> None:
    values, scales = quantize_weight(np.array([[0, 0], [1, -2]], np.float32))

    assert values.tolist() == [[0, 64], [0, -127]]
    assert np.all(np.isfinite(scales))


@pytest.mark.parametrize("k", [1, 192, 1024, 1025, 5120])
def test_int8_products_are_exact(k: int, rng: np.random.Generator) -> None:
    x = rng.integers(-128, 128, (9, k), np.int8)
    weight = rng.integers(-128, 128, (k, 33), np.int8)
    x[0], weight[:, 0] = -128, -128  # the largest sum there is

    y = product(x, GemmWeight("w", weight, "int8"))

    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, x.astype(np.int64) @ weight.astype(np.int64))


def test_bf16_products_accumulate_in_float32(rng: np.random.Generator) -> None:
    x, weight = (to_bfloat16(rng.standard_normal(shape, np.float32)) for shape in ((9, 512), (512, 33)))
    y = product(x, GemmWeight("w", weight, "bf16"))

    assert y.dtype == np.float32
    expected = from_bfloat16(x).astype(np.float64) @ from_bfloat16(weight).astype(np.float64)
    np.testing.assert_allclose(y, expected, atol=1e-4)
