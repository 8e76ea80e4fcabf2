"""The operands of a run: a weight that stays on the device, and the buffers of the activations and of the product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npu_encoder.npu.gemm import GemmInput, GemmOutput
from npu_encoder.npu.kernels import Kernel
from npu_encoder.npu.known_answers import UNANSWERED, KnownAnswers, caller_rows, question_rows, questions


@dataclass(frozen=True, eq=False)
class ResidentWeight:
    """A weight as the device holds it.

    Attributes:
        name: the name of the layer.
        values: ``[K, N]`` of the kernels, padded with zeros; kept on the host to rebuild a context.
        n: columns without the padding.
        known: what the known-answer rows must yield with it.
    """

    name: str
    values: NDArray[Any]
    n: int
    known: KnownAnswers

    def fits(self, kernel: Kernel) -> bool:
        """Return whether ``kernel`` multiplies by weights of this size."""
        return (kernel.k, kernel.n) == self.values.shape


@dataclass(frozen=True, eq=False)
class Buffers:
    """Room for the activations ``[m, k]`` and the product ``[m, n]`` of one run.

    A view into a buffer does not keep it alive, so both are held together.

    Attributes:
        kernel: the kernel whose sizes they have.
        a: the host's view of the activations.
        c: the host's view of the product.
        answers: the known-answer rows of ``c``.
        a_bo: the buffer behind ``a``.
        c_bo: the buffer behind ``c``.
    """

    kernel: Kernel
    a: NDArray[Any]
    c: NDArray[Any]
    answers: NDArray[Any]
    a_bo: Any
    c_bo: Any

    @classmethod
    def of(cls, kernel: Kernel, a: NDArray[Any], c: NDArray[Any], a_bo: Any, c_bo: Any) -> Buffers:
        """Join the parts, and write the questions, which stay: no other row is ever written over them."""
        rows = question_rows(kernel)
        # The rows that nobody fills are multiplied as well.
        a[:] = 0
        a[rows] = questions(kernel.k, kernel.precision)
        return cls(kernel, a, c, c[rows], a_bo, c_bo)

    def fill(self, x: GemmInput) -> None:
        """Write the caller's rows, and overwrite the place of the answers."""
        k = x.shape[1]
        for ours, theirs in caller_rows(self.kernel, len(x)):
            self.a[theirs, :k] = x[ours]
            if k < self.kernel.k:
                self.a[theirs, k:] = 0
        self.answers.view(np.int32)[:] = UNANSWERED

    def answers_match(self, weight: ResidentWeight) -> bool:
        """Return whether the product holds the known answers of ``weight``."""
        return weight.known.matches(self.answers)

    def product(self, weight: ResidentWeight, rows: int) -> GemmOutput:
        """Copy the caller's part of the product: ``[rows, weight.n]``."""
        product = np.empty((rows, weight.n), self.c.dtype)
        for ours, theirs in caller_rows(self.kernel, rows):
            product[ours] = self.c[theirs, : weight.n]
        return product
