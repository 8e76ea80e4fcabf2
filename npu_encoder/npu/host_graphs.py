"""The host's work between two products of the device: one OpenVINO graph per kind of step.

A graph takes the raw product of a linear layer, finishes it (scales, bias), does its step, and ends with the numbers
that the next product takes. Nothing else is read or written: one call between two products.

bfloat16 is spelt out where matrices are multiplied, and only there; LayerNorm, softmax's sums, GELU, the residual and
quantisation are float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset15 as op

from npu_encoder.graphs.compile import rounds_to_bf16
from npu_encoder.graphs.layers import (
    FurtherKeys,
    attention,
    conv,
    gelu,
    integers,
    layer_norm,
    score_bias,
    tensor,
)
from npu_encoder.npu.gemm import Precision
from npu_encoder.npu.quantization import INT8_MAX, MIN_ABSMAX
from npu_encoder.weights import EncoderWeights

SPLITTER = np.float32(2**16 + 1)
"""float32 has 24 bits; what it shifts out of them leaves the eight of bfloat16."""


def build_stem(weights: EncoderWeights, frames: int, to: Precision, matrices: ov.Type) -> ov.Model:
    """Build convolutions, positions and the first LayerNorm.

    Input: log-mel ``[n_mels, frames]``. Outputs: ``x`` ``[ctx, d_model]``, and its norm for the device.

    Args:
        weights: the encoder's; the graph refers to their arrays and does not copy them.
        frames: the length of the window; ``ctx`` is half of it.
        to: the precision of the next product.
        matrices: the type in which the convolutions multiply.
    """
    log_mel = op.parameter([weights.dimensions.n_mels, frames], ov.Type.f32)
    x = op.convert(op.unsqueeze(log_mel, integers(0)), matrices)
    x = gelu(conv(x, weights.conv1, stride=1))
    x = gelu(conv(x, weights.conv2, stride=2))
    x = op.transpose(op.squeeze(op.convert(x, ov.Type.f32), integers(0)), integers(1, 0))
    x = op.add(x, tensor(weights.positions[: frames // 2]))
    norm = weights.layers[0].attention_norm
    return ov.Model([x, *_for_device(layer_norm(x, tensor(norm.gamma), tensor(norm.beta)), to)], [log_mel])


@dataclass(frozen=True, slots=True)
class AttentionSize:
    """The sizes of one attention.

    Attributes:
        ctx: number of states of the window.
        d_model: width of a state.
        n_heads: number of heads.
        log_counts: what is added to the score of each further key, which are attended to besides the window's own.
    """

    ctx: int
    d_model: int
    n_heads: int
    log_counts: tuple[float, ...] = ()


def build_attention(size: AttentionSize, of: Precision, to: Precision, matrices: ov.Type) -> ov.Model:
    """Build softmax attention of all heads; the queries are scaled already.

    Inputs: the product ``[ctx, 3 * d_model]``: queries, keys, values; then further keys and values, if there are any,
    ``[rows, d_model]`` each. Outputs: ``[ctx, d_model]`` for the device.

    Args:
        size: of the attention.
        of: the precision of the product.
        to: the precision of the next product.
        matrices: the type in which the heads multiply.
    """
    d_model = size.d_model
    inputs, qkv = _product(size.ctx, 3 * d_model, of)
    qkv = op.unsqueeze(op.convert(qkv, matrices), integers(0))
    query, key, value = (
        op.slice(qkv, integers(start), integers(start + d_model), integers(1), integers(2))
        for start in (0, d_model, 2 * d_model)
    )
    more_inputs, further = _further_keys(size, matrices)
    mixed = op.squeeze(attention(query, key, value, size.n_heads, further), integers(0))
    return ov.Model(_for_device(op.convert(mixed, ov.Type.f32), to), [*inputs, *more_inputs])


def _further_keys(size: AttentionSize, matrices: ov.Type) -> tuple[list[ov.Node], FurtherKeys | None]:
    """Return the inputs that hold further keys and values, and what the attention takes of them."""
    if not size.log_counts:
        return [], None
    inputs = [op.parameter([len(size.log_counts), size.d_model], ov.Type.f32) for _ in ("key", "value")]
    key, value = (op.unsqueeze(op.convert(rows, matrices), integers(0)) for rows in inputs)
    return inputs, FurtherKeys(key, value, score_bias(size.ctx, np.array(size.log_counts, np.float32)))


def build_add_and_norm(ctx: int, d_model: int, of: Precision, to: Precision) -> ov.Model:
    """Build ``x += product``, and its LayerNorm.

    Inputs: ``x`` ``[ctx, d_model]``, the product ``[ctx, d_model]``, gamma and beta ``[d_model]``.
    Outputs: the new ``x``, and its norm for the device.
    """
    inputs, x, norm = _added_and_normed(ctx, d_model, of)
    return ov.Model([x, *_for_device(norm, to)], inputs)


def build_add_and_last_norm(ctx: int, d_model: int, of: Precision) -> ov.Model:
    """Build the same as ``build_add_and_norm``, with one output, the float32 norm: the encoder's states."""
    inputs, _, norm = _added_and_normed(ctx, d_model, of)
    return ov.Model([norm], inputs)


def build_gelu(ctx: int, d_mlp: int, of: Precision, to: Precision) -> ov.Model:
    """Build GELU.

    Inputs: the product ``[ctx, d_mlp]``. Outputs: the same shape for the device.
    """
    inputs, hidden = _product(ctx, d_mlp, of)
    return ov.Model(_for_device(gelu(hidden), to), inputs)


def _added_and_normed(ctx: int, d_model: int, of: Precision) -> tuple[list[ov.Node], ov.Node, ov.Node]:
    x, gamma, beta = (op.parameter(shape, ov.Type.f32) for shape in ([ctx, d_model], [d_model], [d_model]))
    inputs, product = _product(ctx, d_model, of)
    y = op.add(x, product)
    return [x, *inputs, gamma, beta], y, layer_norm(y, gamma, beta)


def _product(rows: int, columns: int, of: Precision) -> tuple[list[ov.Node], ov.Node]:
    """Return ``Product.inputs`` and then ``Product.constants``, and the layer's float32 ``[rows, columns]``."""
    bias = op.parameter([1, columns], ov.Type.f32)
    if of == "bf16":
        product = op.parameter([rows, columns], ov.Type.f32)
        return [product, bias], op.add(product, bias)
    product = op.parameter([rows, columns], ov.Type.i32)
    row_scales, column_scales = (op.parameter(shape, ov.Type.f32) for shape in ([rows, 1], [1, columns]))
    x = op.multiply(op.multiply(op.convert(product, ov.Type.f32), row_scales), column_scales)
    return [product, row_scales, column_scales, bias], op.add(x, bias)


def _for_device(x: ov.Node, to: Precision) -> list[ov.Node]:
    """Convert ``[rows, columns]`` to the arrays of ``Activation``: bf16, or int8 and the rows' scales ``[rows, 1]``."""
    if to == "bf16":
        return [op.convert(_nearest_bf16(x), ov.Type.bf16)]
    absmax = op.reduce_max(op.abs(x), integers(1), keep_dims=True)
    absmax = op.maximum(absmax, op.constant(MIN_ABSMAX))
    values = op.round(op.multiply(x, op.divide(op.constant(INT8_MAX), absmax)), "half_to_even")
    return [op.convert(values, ov.Type.i8), op.divide(absmax, op.constant(INT8_MAX))]


def _nearest_bf16(x: ov.Node) -> ov.Node:
    """Round ``x`` to the eight bits of bfloat16, so that a conversion that cuts the others off changes nothing.

    Dekker's splitting: exact in float32 up to 2^111; beyond, the result is NaN.
    """
    if rounds_to_bf16():
        return x
    shifted = op.multiply(x, op.constant(SPLITTER))
    return op.subtract(shifted, op.subtract(shifted, x))
