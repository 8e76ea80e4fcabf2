"""Layers of Whisper's encoder as parts of OpenVINO graphs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset15 as op

from npu_encoder.weights import ConvWeights

LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class FurtherKeys:
    """What an attention attends to besides the positions of its own window.

    Attributes:
        key: ``[1, rows, d_model]``.
        value: ``[1, rows, d_model]``.
        bias: added to all scores, see ``score_bias``: ``[1, 1, ctx, ctx + rows]``.
    """

    key: ov.Node
    value: ov.Node
    bias: ov.Node


def score_bias(ctx: int, log_counts: NDArray[np.float32]) -> ov.Node:
    """Make the constant that adds nothing to the scores of a window's own positions, and ``log_counts`` to the others.

    The same for each of the ``ctx`` queries, and yet spelt out: with one row for all of them, the fused attention of
    OpenVINO 2026.4 gives wrong numbers in bf16.
    """
    row = np.concatenate([np.zeros(ctx, np.float32), log_counts])
    return op.constant(np.tile(row, (1, 1, ctx, 1)))


def conv(x: ov.Node, weights: ConvWeights, *, stride: int) -> ov.Node:
    """Build a convolution, ``[1, n_in, frames]`` to ``[1, n_out, frames / stride]``, in the type of ``x``."""
    weight, bias = (
        op.convert(tensor(values), x.get_element_type())
        for values in (weights.weight, weights.bias[np.newaxis, :, np.newaxis])
    )
    return op.add(op.convolution(x, weight, strides=[stride], pads_begin=[1], pads_end=[1], dilations=[1]), bias)


def layer_norm(x: ov.Node, gamma: ov.Node, beta: ov.Node) -> ov.Node:
    """Build the LayerNorm of each row of ``[..., d_model]``."""
    y = op.mvn(x, integers(-1), normalize_variance=True, eps=LAYER_NORM_EPSILON, eps_mode="INSIDE_SQRT")
    return op.add(op.multiply(y, gamma), beta)


def gelu(x: ov.Node) -> ov.Node:
    """Build GELU by the error function."""
    return op.gelu(x, approximation_mode="ERF")


def attention(
    query: ov.Node, key: ov.Node, value: ov.Node, n_heads: int, further: FurtherKeys | None = None
) -> ov.Node:
    """Build softmax attention of all heads, ``[1, ctx, d_model]`` to the same shape; the queries are scaled already.

    It is spelt out, because OpenVINO then fuses the transposes into its attention kernel, which it does not with
    ScaledDotProductAttention.
    """
    d_model = query.get_output_shape(0)[-1]
    if further is not None:
        key, value = op.concat([key, further.key], 1), op.concat([value, further.value], 1)
    query, key, value = (_split_heads(x, n_heads) for x in (query, key, value))
    scores = op.matmul(query, key, transpose_a=False, transpose_b=True)
    if further is not None:
        scores = op.add(scores, op.convert(further.bias, scores.get_element_type()))
    scores = op.softmax(scores, axis=-1)
    return _merge_heads(op.matmul(scores, value, transpose_a=False, transpose_b=False), d_model)


def tensor(array: NDArray[np.float32]) -> ov.Node:
    """Make a constant that refers to the array."""
    return op.constant(array, shared_memory=True)


def integers(*values: int) -> ov.Node:
    """Make a constant for axes and shapes."""
    return op.constant(np.array(values, np.int64))


def _split_heads(x: ov.Node, n_heads: int) -> ov.Node:
    """Turn ``[1, ctx, d_model]`` into ``[1, n_heads, ctx, d_head]``."""
    x = op.reshape(x, integers(0, 0, n_heads, -1), special_zero=True)
    return op.transpose(x, integers(0, 2, 1, 3))


def _merge_heads(x: ov.Node, d_model: int) -> ov.Node:
    """Turn ``[1, n_heads, ctx, d_head]`` into ``[1, ctx, d_model]``."""
    x = op.transpose(x, integers(0, 2, 1, 3))
    return op.reshape(x, integers(0, 0, d_model), special_zero=True)
