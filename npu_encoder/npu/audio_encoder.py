"""Whisper's audio encoder with the matrix products of its layers on a device.

After ``AudioEncoder`` of openai/whisper (``whisper/model.py``) and "Robust Speech Recognition via Large-Scale
Weak Supervision" (Radford et al., 2022), section 2.2. Two things differ: ``yield from`` waits for a product of the
device, and the host does all that lies between two products in one step. So a LayerNorm is done together with the
addition before it, and a block begins behind its first LayerNorm and ends before its last addition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Literal

import numpy as np

from npu_encoder.backend import AnyArrays, check_windows
from npu_encoder.bfloat16 import to_bfloat16
from npu_encoder.errors import EncoderError
from npu_encoder.npu.gemm import GemmExecutor, GemmWeight, Precision
from npu_encoder.npu.host_steps import Activation, FloatArray, HostSteps, Product
from npu_encoder.npu.interleaving import Steps, interleave
from npu_encoder.npu.quantization import quantize_weight
from npu_encoder.weights import EncoderDimensions, EncoderWeights, LayerWeights, LinearWeights


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The precision of each linear layer of a block.

    Attributes:
        qkv: query, key and value in one product.
        out: the layer behind the attention.
        fc1: the layer into the MLP.
        fc2: the layer out of the MLP; behind GELU, its input has the widest outliers.
    """

    qkv: Precision
    out: Precision
    fc1: Precision
    fc2: Precision


PlanName = Literal["int8", "bf16", "int8-bf16-fc2"]

PLANS: Final[Mapping[PlanName, LayerPlan]] = MappingProxyType(
    {
        "int8": LayerPlan("int8", "int8", "int8", "int8"),
        "bf16": LayerPlan("bf16", "bf16", "bf16", "bf16"),
        "int8-bf16-fc2": LayerPlan("int8", "int8", "int8", "bf16"),
    }
)


class AudioEncoder:
    """The encoder: linear layers on ``executor``, everything else on the host.

    While the device multiplies for one window, the host works on another. A window's states depend on no other window,
    to the last bit. ``encode`` may be called from several threads.

    Args:
        weights: the weights of the whole encoder; its linear layers are loaded into the executor here.
        executor: the device.
        plan: precision of each linear layer.
        windows_in_progress: per call; each window has at most one product on the device, so many more windows than
            the device takes products would only cost memory.
        host_precision: precision of the matrix products on the host: see ``HostSteps``.

    Raises:
        NoKernelError: if the device has no kernel for a layer.
        UnsupportedPrecisionError: if this CPU cannot compute in ``host_precision``.
    """

    def __init__(
        self,
        weights: EncoderWeights,
        executor: GemmExecutor,
        plan: LayerPlan,
        *,
        windows_in_progress: int = 4,
        host_precision: str = "auto",
    ) -> None:
        self._dimensions = weights.dimensions
        self._plan = plan
        self._windows_in_progress = windows_in_progress
        self._host = HostSteps(weights, host_precision)
        self._blocks = [
            ResidualAttentionBlock(index, layer, self._host, executor, plan)
            for index, layer in enumerate(weights.layers)
        ]
        self._ln_post = weights.final_norm

    def forward(self, log_mel: FloatArray, states: FloatArray) -> Steps[None]:
        """Encode one window: ``[n_mels, frames]`` into ``states`` ``[frames / 2, d_model]``."""
        check_windows(self._dimensions, [log_mel], [states])
        x, normed = self._host.stem(log_mel, self._plan.qkv)
        for block, following in pairwise(self._blocks):
            x, mlp = yield from block(x, normed)
            x, normed = self._host.add_and_norm(x, mlp, following.attn_ln, self._plan.qkv)
        x, mlp = yield from self._blocks[-1](x, normed)
        self._host.add_and_last_norm(x, mlp, self._ln_post, states)

    @property
    def dimensions(self) -> EncoderDimensions:
        """The size of the model."""
        return self._dimensions

    def encode(self, log_mels: Sequence[FloatArray], states: Sequence[FloatArray]) -> None:
        """Encode a batch of windows in place.

        Args:
            log_mels: one ``[n_mels, frames]`` per window; ``frames`` may differ between windows.
            states: one ``[frames / 2, d_model]`` per window; receives the result.

        Raises:
            InvalidWindowError: if an array does not fit the model.
            DeviceError: if the device failed; some of the states may have been written then.
        """
        windows = (_Window(log_mel, output) for log_mel, output in zip(log_mels, states, strict=True))
        for _, error in self.encode_each(lambda: next(windows, None), len(log_mels)):
            if error is not None:
                raise error

    def encode_each(
        self, waiting: Callable[[], AnyArrays | None], at_most: int
    ) -> Iterator[tuple[AnyArrays, EncoderError | None]]:
        """Encode windows as they come: ``EncoderBackend.encode_each``, with None where all went well."""
        return interleave(
            lambda window: self.forward(window.log_mel, window.states),
            waiting,
            min(at_most, self._windows_in_progress),
        )


@dataclass(frozen=True, slots=True)
class _Window:
    log_mel: FloatArray
    states: FloatArray


class ResidualAttentionBlock:
    """One transformer layer.

    Attributes:
        attn_ln: its first LayerNorm, for the step before it.
    """

    def __init__(
        self, index: int, weights: LayerWeights, host: HostSteps, executor: GemmExecutor, plan: LayerPlan
    ) -> None:
        name = f"layer_{index}"
        self._index = index
        self.attn_ln = weights.attention_norm
        self._qkv = Linear(f"{name}/qkv", _fuse(weights, host.n_heads), executor, plan.qkv)
        self._out = Linear(f"{name}/out", weights.attention_out, executor, plan.out)
        self._mlp_ln = weights.mlp_norm
        self._fc1 = Linear(f"{name}/fc1", weights.mlp_in, executor, plan.fc1)
        self._fc2 = Linear(f"{name}/fc2", weights.mlp_out, executor, plan.fc2)
        self._host = host
        self._plan = plan

    def __call__(self, x: FloatArray, normed: Activation) -> Steps[tuple[FloatArray, Product]]:
        """Take ``x`` ``[ctx, d_model]`` and its norm; return the new ``x`` and what is still to be added to it."""
        qkv = yield from self._qkv(normed)
        out = yield from self._out(self._host.attention(qkv, self._plan.out, self._index))
        x, normed = self._host.add_and_norm(x, out, self._mlp_ln, self._plan.fc1)
        hidden = yield from self._fc1(normed)
        mlp = yield from self._fc2(self._host.gelu(hidden, self._plan.fc2))
        return x, mlp


class Linear:
    """``x @ weight + bias`` on the device, in one precision."""

    def __init__(self, name: str, weights: LinearWeights, executor: GemmExecutor, precision: Precision) -> None:
        self._name = name
        self._executor = executor
        self._bias = weights.bias[np.newaxis]
        self._scales: FloatArray | None = None
        if precision == "int8":
            values, scales = quantize_weight(weights.weight)
            self._scales = scales[np.newaxis]
            executor.load(GemmWeight(name, values, precision))
        else:
            executor.load(GemmWeight(name, to_bfloat16(np.ascontiguousarray(weights.weight.T)), precision))

    def __call__(self, x: Activation) -> Steps[Product]:
        """Multiply ``[rows, n_in]`` to ``[rows, n_out]``; scales and bias are left to the host's next step."""
        values = yield self._executor.start(self._name, x.values)
        return Product(values, x.scales, self._scales, self._bias)


def _fuse(layer: LayerWeights, n_heads: int) -> LinearWeights:
    """Join query, key and value to one layer ``[3 * d_model, d_model]``, with the attention's scale in the query."""
    d_head = len(layer.query.bias) // n_heads
    scale = np.float32(d_head**-0.5)
    return LinearWeights(
        np.concatenate([layer.query.weight * scale, layer.key.weight, layer.value.weight]),
        np.concatenate([layer.query.bias * scale, layer.key.bias, layer.value.bias]),
    )
