"""The host's share of the encoder: everything between two products of the device, in the calling thread."""

from __future__ import annotations

import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from npu_encoder.graphs.compile import compile_graph, resolve_precision
from npu_encoder.graphs.silent_keys import silent_keys
from npu_encoder.npu.gemm import GemmInput, GemmOutput, Precision
from npu_encoder.npu.host_graphs import (
    AttentionSize,
    build_add_and_last_norm,
    build_add_and_norm,
    build_attention,
    build_gelu,
    build_stem,
)
from npu_encoder.weights import EncoderWeights, LayerNormWeights

FloatArray: TypeAlias = NDArray[np.float32]

MAX_COMPILED_GRAPHS = 80
"""Five steps of 16 window lengths."""

MAX_SILENT_KEYS = 512
"""Keys and values of 32 layers for 16 window lengths, of which each is a few hundred kilobytes."""

MATRIX_TYPES = {"bf16": ov.Type.bf16, "f32": ov.Type.f32}


@dataclass(frozen=True, slots=True)
class Activation:
    """The input of a linear layer in the device's numbers.

    Attributes:
        values: ``[rows, n_in]``: int8, or bfloat16 as its bit patterns.
        scales: ``[rows, 1]`` where the values are int8: ``values * scales`` approximates the original; else None.
    """

    values: GemmInput
    scales: FloatArray | None

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """The arrays in the order of a graph's outputs."""
        return [self.values] if self.scales is None else [self.values, self.scales]


@dataclass(frozen=True, slots=True)
class Product:
    """The output of a linear layer as the device returned it, and what has still to be applied to it.

    Attributes:
        values: ``[rows, n_out]``: int32 of an int8 layer, float32 of a bf16 one.
        row_scales: the activation's, ``[rows, 1]``, of an int8 layer; else None.
        column_scales: the weight's, ``[1, n_out]``, of an int8 layer; else None.
        bias: ``[1, n_out]``.
    """

    values: GemmOutput
    row_scales: FloatArray | None
    column_scales: FloatArray | None
    bias: FloatArray

    @property
    def precision(self) -> Precision:
        """The precision of the layer."""
        return "bf16" if self.row_scales is None else "int8"

    @property
    def inputs(self) -> list[NDArray[Any]]:
        """The arrays that every window has of its own, in the order of a graph's inputs."""
        return [self.values] if self.row_scales is None else [self.values, self.row_scales]

    @property
    def constants(self) -> list[NDArray[Any]]:
        """The arrays of the layer, in the order of a graph's inputs."""
        return [self.bias] if self.column_scales is None else [self.column_scales, self.bias]


class _Request:
    """An infer request of a graph whose last inputs never change."""

    def __init__(self, compiled: ov.CompiledModel, constants: Sequence[NDArray[Any]]) -> None:
        self._request = compiled.create_infer_request()
        self._outputs = [(output.get_shape(), output.get_element_type()) for output in compiled.outputs]
        # While both are kept, OpenVINO may read them, and no other array has the identity of one of them.
        self._constants = constants, _set_inputs(self._request, constants, len(compiled.inputs) - len(constants))

    def run(self, inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]]) -> None:
        """Compute ``outputs`` from ``inputs``, both in the graph's order."""
        # OpenVINO does not keep inputs alive; this list does.
        shared = _set_inputs(self._request, inputs)
        for index, (array, (shape, element_type)) in enumerate(zip(outputs, self._outputs, strict=True)):
            self._request.set_output_tensor(index, ov.Tensor(array, shape, element_type))
        # Without ``share_outputs`` it would return copies.
        self._request.infer(share_outputs=True)
        shared.clear()


class _Graph:
    """A compiled graph, with as many requests as ever ran at once for the same layer.

    Setting an input costs a twentieth of a short step, so the constants of a layer are set once, for requests that are
    kept for it.
    """

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._compiled = compiled
        self._idle: defaultdict[tuple[int, ...], deque[_Request]] = defaultdict(deque)

    def run(
        self,
        inputs: Sequence[NDArray[Any]],
        outputs: Sequence[NDArray[Any]],
        constants: Sequence[NDArray[Any]] = (),
    ) -> None:
        """Compute ``outputs`` in place.

        Args:
            inputs: the first inputs of the graph.
            outputs: all outputs of the graph.
            constants: the other inputs: the same arrays, with the same values, whenever the step of a layer is run.
        """
        idle = self._idle[tuple(map(id, constants))]
        try:
            request = idle.pop()
        except IndexError:
            request = _Request(self._compiled, constants)
        request.run(inputs, outputs)
        idle.append(request)


def _set_inputs(request: ov.InferRequest, arrays: Sequence[NDArray[Any]], first: int = 0) -> list[NDArray[Any]]:
    """Set the inputs from number ``first`` on; return what has to live as long as they are used."""
    # OpenVINO shares only writeable memory.
    shared = [np.require(array, requirements="W") for array in arrays]
    for index, array in enumerate(shared, first):
        request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
    return shared


class _Scratch(threading.local):
    """Memory of the calling thread that is used over and over: new memory has to be mapped page by page."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, int], dtype: type[np.int8 | np.uint16]) -> NDArray[Any]:
        """Return the memory as an array, whatever is in it."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > len(self._bytes):
            self._bytes = np.empty(size, np.uint8)
        return self._bytes[:size].view(dtype).reshape(shape)


class HostSteps:
    """The steps as compiled graphs, one per window length, compiled when the length is first met.

    A step may be called from several threads; the GIL is released meanwhile. The ``values`` of the activation that it
    returns are overwritten by the next step of the same thread: start their product first.

    Args:
        weights: the weights of the whole encoder.
        precision: the precision in which convolutions and attention multiply: ``bf16``, ``f32``, or ``auto``.

    Attributes:
        n_heads: attention heads per layer.

    Raises:
        UnsupportedPrecisionError: if this CPU cannot compute in ``precision``.
    """

    def __init__(self, weights: EncoderWeights, precision: str = "auto") -> None:
        self._core = ov.Core()
        self._matrices = MATRIX_TYPES[resolve_precision(self._core, precision)]
        self.n_heads = weights.dimensions.n_heads
        self._d_model = weights.dimensions.d_model
        self._build_stem = partial(build_stem, weights)
        self._silent_keys = lru_cache(MAX_SILENT_KEYS)(partial(silent_keys, weights))
        self._scratch = _Scratch()
        self._graph = lru_cache(MAX_COMPILED_GRAPHS)(self._compile)

    def stem(self, log_mel: FloatArray, to: Precision) -> tuple[FloatArray, Activation]:
        """Convert ``[n_mels, frames]`` to ``x`` ``[ctx, d_model]`` and its first norm, for a product in ``to``."""
        frames = log_mel.shape[1]
        x, norm = self._residual(frames // 2), self._activation(frames // 2, self._d_model, to)
        graph = self._graph(self._build_stem, frames, to, self._matrices)
        graph.run([log_mel], [x, *norm.arrays])
        return x, norm

    def attention(self, qkv: Product, to: Precision, layer: int) -> Activation:
        """Mix ``[ctx, 3 * d_model]`` (queries, keys, values) to ``[ctx, d_model]`` as layer ``layer`` does."""
        ctx = len(qkv.values)
        silent = self._silent_keys(layer, ctx)
        mixed = self._activation(ctx, self._d_model, to)
        log_counts = () if silent is None else tuple(silent.log_counts.tolist())
        size = AttentionSize(ctx, self._d_model, self.n_heads, log_counts)
        graph = self._graph(build_attention, size, qkv.precision, to, self._matrices)
        further = [] if silent is None else [silent.key, silent.value]
        graph.run(qkv.inputs, mixed.arrays, [*qkv.constants, *further])
        return mixed

    def add_and_norm(
        self, x: FloatArray, product: Product, norm: LayerNormWeights, to: Precision
    ) -> tuple[FloatArray, Activation]:
        """Return ``x + product`` and its norm, both ``[ctx, d_model]``."""
        y, normed = self._residual(len(x)), self._activation(len(x), self._d_model, to)
        graph = self._graph(build_add_and_norm, len(x), self._d_model, product.precision, to)
        graph.run([x, *product.inputs], [y, *normed.arrays], [*product.constants, norm.gamma, norm.beta])
        return y, normed

    def add_and_last_norm(self, x: FloatArray, product: Product, norm: LayerNormWeights, states: FloatArray) -> None:
        """Write the norm of ``x + product`` into ``states``, all ``[ctx, d_model]``."""
        graph = self._graph(build_add_and_last_norm, len(x), self._d_model, product.precision)
        graph.run([x, *product.inputs], [states], [*product.constants, norm.gamma, norm.beta])

    def gelu(self, hidden: Product, to: Precision) -> Activation:
        """Apply GELU to ``[ctx, 4 * d_model]``."""
        ctx, d_mlp = hidden.values.shape
        y = self._activation(ctx, d_mlp, to)
        self._graph(build_gelu, ctx, d_mlp, hidden.precision, to).run(hidden.inputs, y.arrays, hidden.constants)
        return y

    def _activation(self, rows: int, columns: int, precision: Precision) -> Activation:
        if precision == "bf16":
            return Activation(self._scratch.array((rows, columns), np.uint16), None)
        return Activation(self._scratch.array((rows, columns), np.int8), np.empty((rows, 1), np.float32))

    def _residual(self, ctx: int) -> FloatArray:
        return np.empty((ctx, self._d_model), np.float32)

    def _compile(self, build: Callable[..., ov.Model], *sizes: Any) -> _Graph:
        # The graphs say themselves what is bf16.
        return _Graph(compile_graph(self._core, build(*sizes), precision="f32", threads=1))
