"""Whisper's audio encoder as an ONNX graph.

After ``AudioEncoder`` of openai/whisper (``whisper/model.py``), as ``npu_encoder.graphs.audio_encoder`` is. All shapes
are fixed, because compilers for accelerators want them so.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from npu_encoder.errors import ModelFormatError
from npu_encoder.onnx import protobuf
from npu_encoder.onnx.protobuf import Attribute
from npu_encoder.weights import ConvWeights, EncoderWeights, LayerNormWeights, LayerWeights, LinearWeights

INPUT, OUTPUT = "log_mel", "states"
LAYER_NORM_EPSILON: Final = 1e-5
MAX_BYTES: Final = 2**31 - 1
"""A message of protobuf is no larger."""


def build_encoder(weights: EncoderWeights, frames: int) -> bytes:
    """Build the encoder for windows of exactly ``frames`` frames.

    Input: ``log_mel`` ``[1, n_mels, frames]``. Output: ``states`` ``[1, frames / 2, d_model]``.

    Raises:
        ModelFormatError: if the encoder is too large for one file of ONNX.
    """
    dimensions = weights.dimensions
    ctx, d_model = frames // 2, dimensions.d_model
    graph = _Graph(ctx, d_model, dimensions.n_heads)
    x = graph.gelu(graph.conv(INPUT, weights.conv1, stride=1))
    x = graph.gelu(graph.conv(x, weights.conv2, stride=2))
    x = graph.add("Transpose", x, perm=(0, 2, 1))
    x = graph.add("Add", x, graph.constant(weights.positions[np.newaxis, :ctx]))
    for layer in weights.layers:
        x = graph.add("Add", x, graph.attention(graph.norm(x, layer.attention_norm), layer))
        hidden = graph.gelu(graph.linear(graph.norm(x, layer.mlp_norm), layer.mlp_in))
        x = graph.add("Add", x, graph.linear(hidden, layer.mlp_out))
    x = graph.norm(x, weights.final_norm)
    return graph.finish(x, (1, dimensions.n_mels, frames), (1, ctx, d_model))


class _Graph:
    """The nodes and constants so far; values are known by the names that the methods return."""

    def __init__(self, ctx: int, d_model: int, n_heads: int) -> None:
        self._heads = (1, ctx, n_heads, d_model // n_heads)
        self._whole = (1, ctx, d_model)
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._scale = np.float32((d_model // n_heads) ** -0.5)

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Add a node."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(protobuf.node(operator, inputs, name, **attributes))
        return name

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add a constant."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(protobuf.tensor(name, values))
        return name

    def conv(self, x: str, weights: ConvWeights, *, stride: int) -> str:
        """Add a convolution, ``[1, n_in, frames]`` to ``[1, n_out, frames / stride]``."""
        parameters = self.constant(weights.weight), self.constant(weights.bias)
        return self.add("Conv", x, *parameters, kernel_shape=(3,), pads=(1, 1), strides=(stride,))

    def gelu(self, x: str) -> str:
        """Add GELU by the error function."""
        erf = self.add("Erf", self.add("Mul", x, self._number(0.5**0.5)))
        return self.add("Mul", self.add("Mul", x, self._number(0.5)), self.add("Add", erf, self._number(1.0)))

    def norm(self, x: str, weights: LayerNormWeights) -> str:
        """Add a LayerNorm of each row."""
        parameters = self.constant(weights.gamma), self.constant(weights.beta)
        return self.add("LayerNormalization", x, *parameters, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def linear(self, x: str, weights: LinearWeights) -> str:
        """Add a linear layer."""
        product = self.add("MatMul", x, self.constant(np.ascontiguousarray(weights.weight.T)))
        return self.add("Add", product, self.constant(weights.bias))

    def attention(self, x: str, layer: LayerWeights) -> str:
        """Add self-attention, ``[1, ctx, d_model]`` to the same shape."""
        query = self.add("Mul", self.linear(x, layer.query), self._number(float(self._scale)))
        query, value = (self._split(each, (0, 2, 1, 3)) for each in (query, self.linear(x, layer.value)))
        key = self._split(self.linear(x, layer.key), (0, 2, 3, 1))
        scores = self.add("Softmax", self.add("MatMul", query, key), axis=-1)
        merged = self.add("Transpose", self.add("MatMul", scores, value), perm=(0, 2, 1, 3))
        return self.linear(self._reshape(merged, self._whole), layer.attention_out)

    def finish(self, x: str, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> bytes:
        """Return the model, with ``x`` as its output."""
        self._nodes.append(protobuf.node("Identity", [x], OUTPUT))
        content = protobuf.graph(
            self._nodes,
            self._constants,
            [protobuf.value(INPUT, input_shape)],
            [protobuf.value(OUTPUT, output_shape)],
        )
        if len(content) > MAX_BYTES:
            raise ModelFormatError(
                f"The encoder takes {len(content) / 2**30:.1f} GiB in ONNX, and one file holds 2: take a smaller model "
                "or encoder_backend: openvino"
            )
        return protobuf.model(content)

    def _split(self, x: str, order: tuple[int, ...]) -> str:
        return self.add("Transpose", self._reshape(x, self._heads), perm=order)

    def _reshape(self, x: str, shape: tuple[int, ...]) -> str:
        return self.add("Reshape", x, self.constant(np.array(shape, np.int64)))

    def _number(self, number: float) -> str:
        return self.constant(np.array(number, np.float32))
