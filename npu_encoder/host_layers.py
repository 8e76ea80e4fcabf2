"""The layers of Whisper's encoder that stay on the host, in float32.

NumPy's elementwise functions use one thread. Its matrix products use as many as BLAS has, which is one core too many
where workers share the cores: set ``OPENBLAS_NUM_THREADS=1`` (Ray does, through ``OMP_NUM_THREADS``).
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from npu_encoder.weights import KERNEL_SIZE, ConvWeights, LayerNormWeights

LAYER_NORM_EPSILON = 1e-5

# Queries whose scores exist at the same time: 12 MB for 8 heads and 1500 states instead of 72 MB.
QUERY_BLOCK = 256

# Elements on which all steps of a function run before the next ones are touched: they stay in the cache.
CACHE_BLOCK = 16_384

# erf(x / sqrt 2) = tanh(x * P(x**2)). P is fitted to |x| < 5.2 so that GELU is off by 6e-7 at most.
ERF_POLYNOMIAL = np.array(
    [7.97872931e-01, 3.63649167e-02, -5.73552948e-05, -4.73981875e-05, 2.81248847e-06, -5.71094168e-08], np.float32
)
ERF_SATURATED = np.float32(27)  # x**2 from where on erf is 1 in float32


class Conv:
    """A convolution with kernel 3 and padding 1, as one matrix product."""

    def __init__(self, weights: ConvWeights, *, stride: int) -> None:
        n_out = len(weights.bias)
        self._kernel = np.ascontiguousarray(weights.weight.transpose(2, 1, 0).reshape(-1, n_out))
        self._bias = weights.bias
        self._stride = stride

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """``[frames, n_in]`` to ``[frames / stride, n_out]``."""
        frames, n_in = x.shape
        padded = np.zeros((frames + KERNEL_SIZE - 1, n_in), np.float32)
        padded[1:-1] = x
        patches = sliding_window_view(padded, (KERNEL_SIZE, n_in))[:: self._stride]
        y = patches.reshape(-1, KERNEL_SIZE * n_in) @ self._kernel
        y += self._bias
        return y


def layer_norm(
    x: NDArray[np.float32], norm: LayerNormWeights, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Each row of ``[ctx, d_model]``, into ``out`` if given."""
    y: NDArray[np.float32] = np.subtract(x, x.mean(axis=1, keepdims=True), out=out)
    variance = np.vecdot(y, y)[:, np.newaxis] / np.float32(x.shape[1])
    y /= np.sqrt(variance + np.float32(LAYER_NORM_EPSILON))
    y *= norm.gamma
    y += norm.beta
    return y


def gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """GELU by the error function, ``x / 2 * (1 + erf(x / sqrt 2))``, in place; ``x`` is C-contiguous."""
    flat = x.reshape(-1)
    square, y = np.empty((2, min(CACHE_BLOCK, len(flat))), np.float32)
    for start in range(0, len(flat), CACHE_BLOCK):
        block = flat[start : start + CACHE_BLOCK]
        _gelu_block(block, square[: len(block)], y[: len(block)])
    return x


def _gelu_block(x: NDArray[np.float32], square: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    np.multiply(x, x, out=square)
    np.minimum(square, ERF_SATURATED, out=square)
    np.multiply(square, ERF_POLYNOMIAL[-1], out=y)
    for coefficient in ERF_POLYNOMIAL[-2:0:-1]:
        y += coefficient
        y *= square
    y += ERF_POLYNOMIAL[0]
    y *= x
    np.tanh(y, out=y)
    y += np.float32(1)
    x *= np.float32(0.5)
    x *= y


def attention(qkv: NDArray[np.float32], n_heads: int) -> NDArray[np.float32]:
    """Softmax attention of all heads: ``[ctx, 3 * d_model]`` (queries, keys, values) to ``[ctx, d_model]``.

    The queries are already divided by the square root of the head's width.
    """
    ctx, width = qkv.shape
    d_model = width // 3
    # Contiguous heads make the products 10% faster than strided ones.
    query, key, value = np.ascontiguousarray(qkv.reshape(ctx, 3, n_heads, -1).transpose(1, 2, 0, 3))
    key = key.swapaxes(1, 2)
    merged = np.empty((ctx, d_model), np.float32)
    heads = merged.reshape(ctx, n_heads, -1).swapaxes(0, 1)
    scores = np.empty((n_heads, min(QUERY_BLOCK, ctx), ctx), np.float32)
    for start in range(0, ctx, QUERY_BLOCK):
        block = query[:, start : start + QUERY_BLOCK]
        weights = np.matmul(block, key, out=scores[:, : block.shape[1]])
        weights -= weights.max(axis=-1, keepdims=True)
        np.exp(weights, out=weights)
        # Dividing the mix instead of the weights leaves out one pass over the scores.
        np.divide(weights @ value, weights.sum(axis=-1, keepdims=True), out=heads[:, start : start + QUERY_BLOCK])
    return merged
