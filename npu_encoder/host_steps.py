"""The host's share of the encoder: everything between two products of the device, in the calling thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from npu_encoder.gemm import Precision
from npu_encoder.host_graphs import (
    build_add_and_last_norm,
    build_add_and_norm,
    build_attention,
    build_gelu,
    build_stem,
)
from npu_encoder.openvino_cpu import compile_graph, resolve_precision
from npu_encoder.weights import EncoderWeights, LayerNormWeights

FloatArray: TypeAlias = NDArray[np.float32]

# Five steps of 16 window lengths.
MAX_COMPILED_GRAPHS = 80

MATRIX_TYPES = {"bf16": ov.Type.bf16, "f32": ov.Type.f32}


@dataclass(frozen=True, slots=True)
class Activation:
    """The input of a linear layer in the device's numbers.

    Attributes:
        values: ``[rows, n_in]``: int8, or bfloat16 as its bit patterns.
        scales: of int8: ``[rows, 1]``; ``values * scales`` approximates the original.
    """

    values: NDArray[np.int8] | NDArray[np.uint16]
    scales: FloatArray | None

    @classmethod
    def empty(cls, rows: int, columns: int, precision: Precision) -> Activation:
        """Room for a graph to write into."""
        if precision == "bf16":
            return cls(np.empty((rows, columns), np.uint16), None)
        return cls(np.empty((rows, columns), np.int8), np.empty((rows, 1), np.float32))

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """In the order of a graph's outputs."""
        return [self.values] if self.scales is None else [self.values, self.scales]


@dataclass(frozen=True, slots=True)
class Product:
    """What the device returned for a linear layer, and what is missing to its result.

    Attributes:
        values: ``[rows, n_out]``: int32 of an int8 layer, float32 of a bf16 one.
        row_scales: of int8: the activation's, ``[rows, 1]``.
        column_scales: of int8: the weight's, ``[1, n_out]``.
        bias: ``[1, n_out]``.
    """

    values: NDArray[np.int32] | NDArray[np.float32]
    row_scales: FloatArray | None
    column_scales: FloatArray | None
    bias: FloatArray

    @property
    def precision(self) -> Precision:
        """Of the layer."""
        return "bf16" if self.row_scales is None else "int8"

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """In the order of a graph's inputs."""
        arrays = (self.values, self.row_scales, self.column_scales, self.bias)
        return [array for array in arrays if array is not None]


class HostSteps:
    """The steps as compiled graphs, one for each window length, compiled when the length is first met.

    A step may be called from several threads; the GIL is released meanwhile.

    Args:
        weights: of the whole encoder.
        precision: in which convolutions and attention multiply: ``bf16``, ``f32``, or ``auto``.

    Attributes:
        n_heads: of a layer.

    Raises:
        UnsupportedPrecisionError: if this CPU cannot compute in ``precision``.
    """

    def __init__(self, weights: EncoderWeights, precision: str = "auto") -> None:
        self._core = ov.Core()
        self._matrices = MATRIX_TYPES[resolve_precision(self._core, precision)]
        self.n_heads = weights.dimensions.n_heads
        self._d_model = weights.dimensions.d_model
        self._build_stem = partial(build_stem, weights)
        self._graph = lru_cache(MAX_COMPILED_GRAPHS)(self._compile)

    def stem(self, log_mel: FloatArray, to: Precision) -> tuple[FloatArray, Activation]:
        """The window ``[n_mels, frames]`` to ``x`` ``[ctx, d_model]`` and its first norm, for a product in ``to``."""
        frames = log_mel.shape[1]
        x, norm = self._residual(frames // 2), Activation.empty(frames // 2, self._d_model, to)
        _run(self._graph(self._build_stem, frames, to, self._matrices), [log_mel], [x, *norm.arrays])
        return x, norm

    def attention(self, qkv: Product, to: Precision) -> Activation:
        """``[ctx, 3 * d_model]`` (queries, keys, values) to ``[ctx, d_model]``."""
        ctx = len(qkv.values)
        mixed = Activation.empty(ctx, self._d_model, to)
        graph = self._graph(build_attention, ctx, self._d_model, self.n_heads, qkv.precision, to, self._matrices)
        _run(graph, qkv.arrays, mixed.arrays)
        return mixed

    def add_and_norm(
        self, x: FloatArray, product: Product, norm: LayerNormWeights, to: Precision
    ) -> tuple[FloatArray, Activation]:
        """``x + product`` and its norm, both ``[ctx, d_model]``."""
        y, normed = self._residual(len(x)), Activation.empty(len(x), self._d_model, to)
        graph = self._graph(build_add_and_norm, len(x), self._d_model, product.precision, to)
        _run(graph, [x, *_rows(norm), *product.arrays], [y, *normed.arrays])
        return y, normed

    def add_and_last_norm(self, x: FloatArray, product: Product, norm: LayerNormWeights, states: FloatArray) -> None:
        """The norm of ``x + product`` into ``states``, all ``[ctx, d_model]``."""
        graph = self._graph(build_add_and_last_norm, len(x), self._d_model, product.precision)
        _run(graph, [x, *_rows(norm), *product.arrays], [states])

    def gelu(self, hidden: Product, to: Precision) -> Activation:
        """``[ctx, 4 * d_model]`` to the same."""
        ctx, d_mlp = hidden.values.shape
        y = Activation.empty(ctx, d_mlp, to)
        _run(self._graph(build_gelu, ctx, d_mlp, hidden.precision, to), hidden.arrays, y.arrays)
        return y

    def _residual(self, ctx: int) -> FloatArray:
        return np.empty((ctx, self._d_model), np.float32)

    def _compile(self, build: Callable[..., ov.Model], *sizes: Any) -> ov.CompiledModel:
        # The graphs say themselves what is bf16.
        return compile_graph(self._core, build(*sizes), precision="f32", threads=1)


def _rows(norm: LayerNormWeights) -> tuple[FloatArray, FloatArray]:
    return norm.gamma[np.newaxis], norm.beta[np.newaxis]


def _run(graph: ov.CompiledModel, inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]]) -> None:
    # A new request costs 7 us and, unlike a kept one, holds no reference to the arrays afterwards.
    request = graph.create_infer_request()
    # OpenVINO shares only writeable memory.
    inputs = [np.require(array, requirements="W") for array in inputs]
    for index, array in enumerate(inputs):
        request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
    for index, array in enumerate(outputs):
        element_type = graph.output(index).get_element_type()
        request.set_output_tensor(index, ov.Tensor(array, ov.Shape(array.shape), element_type))
    request.infer()
