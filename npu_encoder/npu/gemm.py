"""The interface of a device that multiplies matrices with resident weights, and the same on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from npu_encoder.bfloat16 import from_bfloat16

Precision = Literal["int8", "bf16"]

GemmInput: TypeAlias = NDArray[np.int8] | NDArray[np.uint16]
"""An operand: int8, or bfloat16 as its bit patterns."""

GemmOutput: TypeAlias = NDArray[np.int32] | NDArray[np.float32]
"""A product: int32 where the operands are int8, float32 where they are bf16."""

INPUT_DTYPES: dict[Precision, type[np.generic]] = {"int8": np.int8, "bf16": np.uint16}
OUTPUT_DTYPES: dict[Precision, type[np.generic]] = {"int8": np.int32, "bf16": np.float32}

EXACT_K = 2**24 // 128**2
"""Float32 holds every integer up to 2**24, and |x * w| <= 128**2: sums of so many products are exact in any order."""


@dataclass(frozen=True, slots=True)
class GemmWeight:
    """The weight of one linear layer as a device wants it.

    Attributes:
        name: for example ``layer_0/qkv``.
        values: ``[k, n]``, not padded, C-contiguous.
        precision: the precision of ``values``.
    """

    name: str
    values: GemmInput
    precision: Precision


class PendingGemm(Protocol):
    """One product that a device computes."""

    @property
    def array(self) -> str:
        """The name of the device's configuration that computes it: from one to the next the device has to switch."""
        ...

    def done(self) -> bool:
        """Return whether ``result`` would return, or raise, at once. Never blocks."""
        ...

    def result(self) -> GemmOutput:
        """Wait for the product ``[m, n]`` by polling, and return it.

        The array is read-only for the caller, and valid as long as this object lives.

        Raises:
            DeviceError: if the device failed.
        """
        ...


class GemmExecutor(Protocol):
    """A device that multiplies. ``start`` may be called from several threads."""

    @property
    def device(self) -> str:
        """The device that computes, and how: ``npu:xdna2-int8``."""
        ...

    def load(self, weight: GemmWeight) -> None:
        """Make a weight resident, once, before its first product.

        Raises:
            NoKernelError: if no kernel fits the weight's shape and precision.
        """
        ...

    def start(self, name: str, x: GemmInput) -> PendingGemm:
        """Begin ``x @ weight``. ``x`` is free for other use when this returns.

        Args:
            name: the name of a loaded weight.
            x: ``[m, k]``, C-contiguous, in the weight's precision; any ``m`` up to the kernel's.
        """
        ...

    def close(self) -> None:
        """Release the device."""
        ...


class NumpyGemm:
    """The reference: products on the host, finished when ``start`` returns.

    int8 is exact; bf16 multiplies exactly and accumulates in float32. The int8 products run as float32 ones, which
    BLAS computes fast, over stretches of k that are too short to round.
    """

    def __init__(self) -> None:
        self._weights: dict[str, NDArray[np.float32]] = {}

    @property
    def device(self) -> str:
        return "cpu:numpy"

    def load(self, weight: GemmWeight) -> None:
        self._weights[weight.name] = _to_float32(weight.values)

    def start(self, name: str, x: GemmInput) -> PendingGemm:
        weight = self._weights[name]
        if x.dtype == np.uint16:
            return _Finished(_to_float32(x) @ weight)
        return _Finished(_exact_product(_to_float32(x), weight))

    def close(self) -> None:
        self._weights.clear()


@dataclass(frozen=True, slots=True)
class _Finished:
    product: GemmOutput
    array: str = "host"

    def done(self) -> bool:
        return True

    def result(self) -> GemmOutput:
        return self.product


def _exact_product(x: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.int32]:
    product = (x[:, :EXACT_K] @ weight[:EXACT_K]).astype(np.int32)
    for k in range(EXACT_K, len(weight), EXACT_K):
        product += (x[:, k : k + EXACT_K] @ weight[k : k + EXACT_K]).astype(np.int32)
    return product


def _to_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype == np.uint16:
        return from_bfloat16(values)
    return values.astype(np.float32)
