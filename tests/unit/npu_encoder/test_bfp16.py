"""bfp16: eight numbers along K share an exponent, each keeps eight bits."""

from __future__ import annotations

import numpy as np
import pytest

from npu_encoder.bfp16 import round_to_bfp16


def column(*values: float) -> list[float]:
    padded = np.zeros((8, 1))
    padded[: len(values), 0] = values
    return [float(value) for value in round_to_bfp16(padded)[: len(values), 0]]


def test_what_fits_into_eight_bits_beside_the_largest_is_kept() -> None:
    assert column(64.0, -3.0, 1.0) == [64.0, -3.0, 1.0]
    assert column(1.0, -1.0, 0.0) == [1.0, -1.0, 0.0]
    assert column(0.0, 0.0) == [0.0, 0.0]


def test_what_is_small_beside_the_largest_is_rounded_to_even() -> None:
    assert column(64.0, 0.5, 1.5, 0.4) == [64.0, 0.0, 2.0, 0.0]


def test_the_largest_number_is_cut_off_where_it_would_need_another_bit() -> None:
    assert column(127.75) == [127.0]
    assert column(-127.75) == [-128.0]


def test_a_core_that_nobody_told_otherwise_rounds_down() -> None:
    values = np.zeros((8, 1))
    values[:4, 0] = (64.0, 1.9, -0.1, 0.9)
    np.testing.assert_array_equal(round_to_bfp16(values, "floor")[:4, 0], [64.0, 1.0, -1.0, 0.0])


def test_columns_and_blocks_have_exponents_of_their_own() -> None:
    values = np.zeros((16, 2))
    values[0], values[1], values[9] = (100.0, 0.25), (0.25, 0.125), (0.25, 100.0)
    np.testing.assert_array_equal(round_to_bfp16(values)[[1, 9]], [[0.0, 0.125], [0.25, 100.0]])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_error_is_half_a_step_of_the_block(scale: float) -> None:
    values = scale * np.random.default_rng(0).uniform(-0.9, 0.9, (64, 5))
    blocks = np.abs(values).reshape(8, 8, 5).max(axis=1, keepdims=True)
    error = np.abs(round_to_bfp16(values) - values).reshape(8, 8, 5)
    assert (error <= blocks / 64).all()
    assert error.max() > 0
