"""Bounds in the type of the product tell the same products apart as exact ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from npu_encoder.npu.known_answers import round_up


@given(bound=st.floats(-1e6, 1e6), ulps=st.integers(-3, 3))
def test_a_product_is_on_the_same_side_of_the_rounded_bound(bound: float, ulps: int) -> None:
    product = np.float32(bound)
    for _ in range(abs(ulps)):
        product = np.nextafter(product, np.float32(np.inf if ulps > 0 else -np.inf))
    (least,) = round_up(np.array([bound]))
    assert (product >= least) == (float(product) >= bound)
