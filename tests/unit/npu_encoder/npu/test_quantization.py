"""Conversions to int8 and bfloat16, and the exact products of the host's reference executor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from npu_encoder.npu.gemm import GemmWeight, NumpyGemm
from npu_encoder.npu.quantization import from_bfloat16, quantize_weight, to_bfloat16


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def product(x: NDArray[Any], weight: GemmWeight) -> NDArray[Any]:
    gemm = NumpyGemm()
    gemm.load(weight)
    return gemm.start(weight.name, x).result()


def bits_of(*values: float) -> list[int]:
    return [int(bits) for bits in to_bfloat16(np.array(values, np.float32))]


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


def test_bfloat16_rounds_to_nearest_even() -> None:
    step = 2.0**-7  # between neighbours of 1
    assert bits_of(1, 1 + 0.5 * step, 1 + 0.51 * step, 1 + 1.5 * step) == [0x3F80, 0x3F80, 0x3F81, 0x3F82]
    assert bits_of(-1 - 0.5 * step, 0.0, -0.0) == [0xBF80, 0x0000, 0x8000]
    assert bits_of(np.inf, -np.inf, float(np.finfo(np.float32).max)) == [0x7F80, 0xFF80, 0x7F80]


def test_every_nan_stays_nan() -> None:
    nans = np.array([0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.all(np.isnan(from_bfloat16(to_bfloat16(nans))))


def test_every_bfloat16_comes_back() -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    numbers = every[~np.isnan(from_bfloat16(every))]
    np.testing.assert_array_equal(to_bfloat16(from_bfloat16(numbers)), numbers)
