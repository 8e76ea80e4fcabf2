"""Rows with known products, computed along with every GEMM: they tell a device that works from one that says so.

A run that never happened, or went wrong, can be reported as complete. So one row per row of cores is not the caller's:
it lies in the last tile that this row of cores computes, and its product was computed on the host when the weight was
loaded. As each column of cores computes its share of every row, all cores answer in each run. Before a run the place of
the answers is overwritten, so that the answers of an earlier run cannot pass for new ones.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from npu_encoder.bfloat16 import from_bfloat16, to_bfloat16
from npu_encoder.bfp16 import Rounding, round_to_bfp16
from npu_encoder.npu.gemm import Precision
from npu_encoder.npu.kernels import CORE_ROWS, Bf16, Kernel

SEED = 1500

MAX_LAYOUTS = 256
"""Pairs of a window length and a kernel for which the place of the rows is remembered."""

UNANSWERED = 0x7FC0_0BAD
"""The bits of a quiet float32 NaN; as an integer far beyond any product of int8 values."""

TOLERANCES: Final[dict[Bf16, float]] = {"native": 2.0**-10, "bfp16": 2.0**-8}
"""Share of the sum of magnitudes by which an answer may be off; a lost tile is out by far more.

The order of a float32 sum and its last roundings are the device's business: the first allows for the worst case of 8192
steps. The second allows besides for what a core does with a block whose largest number rounds up to the next power of
two: it may cut it off, as we do, or take the next exponent for the block."""


class KnownAnswers:
    """The questions, and the answers for one weight.

    A kernel that emulates bf16 with bfp16 rounds both operands to it. That changes the weight, but not the questions,
    which are +1 and -1.

    Args:
        weight: ``[k, n]`` as the device holds it, padding included.
        precision: the precision of the weight.
        bf16: how the kernel multiplies bf16; int8 kernels do not ask.
        rounding: the mode of the cores, which shows in bfp16.

    Attributes:
        questions: ``[4, k]``, in the weight's precision: one row per row of cores.
    """

    def __init__(
        self,
        weight: NDArray[Any],
        precision: Precision,
        bf16: Bf16 = "native",
        rounding: Rounding = "conv_even",
    ) -> None:
        self.questions = questions(len(weight), precision)
        values, asked = _to_float64(weight), _to_float64(self.questions)
        if precision == "bf16" and bf16 == "bfp16":
            values = round_to_bfp16(values, rounding)
        answers = asked @ values
        # In the type of the product: comparing with another one would convert all answers of each run.
        self._least: NDArray[np.int32 | np.float32]
        self._most: NDArray[np.int32 | np.float32]
        if precision == "int8":
            self._least = self._most = answers.astype(np.int32)
        else:
            tolerance = TOLERANCES[bf16] * (np.abs(asked) @ np.abs(values))
            self._least, self._most = round_up(answers - tolerance), -round_up(-answers - tolerance)

    def matches(self, rows: NDArray[Any]) -> bool:
        """Return whether the device answered right: exactly for int8, up to rounding for bf16; NaN is always wrong.

        Args:
            rows: ``[4 * i, n]``, the answers to the questions, over and over; the last columns may be missing.
        """
        n = rows.shape[1]
        rows = rows.reshape(-1, CORE_ROWS, n)
        as_known = (rows >= self._least[:, :n]) & (rows <= self._most[:, :n])
        return bool(np.logical_and.reduce(as_known, axis=None))


def round_up(bounds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the least float32 that is not below each bound: whatever float32 is below one is below the other."""
    nearest = bounds.astype(np.float32)
    return np.where(nearest < bounds, np.nextafter(nearest, np.float32(np.inf)), nearest)


@lru_cache(MAX_LAYOUTS)
def question_rows(kernel: Kernel) -> slice:
    """Return where the known-answer rows are in ``[m, ...]``: the last row of each of the last four tiles."""
    return slice(kernel.m - (CORE_ROWS - 1) * kernel.tile_m - 1, kernel.m, kernel.tile_m)


@lru_cache(MAX_LAYOUTS)
def caller_rows(kernel: Kernel, rows: int) -> tuple[tuple[slice, slice], ...]:
    """Return where the first ``rows`` rows of the caller go, around the known-answer rows.

    Returns:
        Pairs of the caller's rows and the kernel's.
    """
    taken = range(kernel.m)[question_rows(kernel)]
    starts, stops = [0, *(row + 1 for row in taken)], [*taken]
    pieces = []
    for skipped, (start, stop) in enumerate(zip(starts, stops, strict=False)):
        end = min(stop, rows + skipped)
        if start < end:
            pieces.append((slice(start - skipped, end - skipped), slice(start, end)))
    return tuple(pieces)


@lru_cache(MAX_LAYOUTS)
def questions(k: int, precision: Precision) -> NDArray[Any]:
    """Return the known-answer rows of an operand ``[m, k]``: one row per row of cores, ``[4, k]``."""
    signs = np.random.default_rng(SEED)
    if precision == "int8":
        return signs.integers(-127, 128, (CORE_ROWS, k), np.int8)
    return to_bfloat16(signs.choice(np.array([-1, 1], np.float32), (CORE_ROWS, k)))


def _to_float64(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype == np.uint16:
        return from_bfloat16(values).astype(np.float64)
    return values.astype(np.float64)
