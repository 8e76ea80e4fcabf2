"""Rounding to bfloat16 and back."""

from __future__ import annotations

import numpy as np

from npu_encoder.bfloat16 import from_bfloat16, to_bfloat16


def bits_of(*values: float) -> list[int]:
    return [int(bits) for bits in to_bfloat16(np.array(values, np.float32))]


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
