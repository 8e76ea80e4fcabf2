"""Whisper's audio encoder with the matrix products of its layers on a device.

After ``AudioEncoder`` of openai/whisper (``whisper/model.py``) and "Robust Speech Recognition via Large-Scale
Weak Supervision" (Radford et al., 2022), section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Generic, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from npu_encoder.backend import AnyWindow, check_windows
from npu_encoder.errors import EncoderError
from npu_encoder.npu.gemm import GemmExecutor, GemmWeight, PendingGemm, Precision
from npu_encoder.npu.host_steps import Activation, HostSteps, Product
from npu_encoder.npu.quantization import quantize_weight, to_bfloat16
from npu_encoder.weights import EncoderDimensions, EncoderWeights, LayerWeights, LinearWeights

FloatArray: TypeAlias = NDArray[np.float32]
Result = TypeVar("Result")
Steps: TypeAlias = Generator[PendingGemm, NDArray[np.int32] | NDArray[np.float32], Result]
"""Work on one window: yields a product that was started, is sent its values, returns a result."""


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The precision of each linear layer of a block.

    Attributes:
        qkv: query, key and value in one product.
        out: behind the attention.
        fc1: into the MLP.
        fc2: out of the MLP; behind GELU, its input has the widest outliers.
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
        weights: of the whole encoder; its linear layers are loaded into the executor here.
        executor: the device.
        plan: precision of each linear layer.
        windows_in_progress: of one call; each has at most one product on the device, so more than the device takes
            would only cost memory.
        host_precision: of the matrix products on the host: see ``HostSteps``.

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
        self._windows_in_progress = windows_in_progress
        self._dimensions = weights.dimensions
        self._plan = plan
        self._host = HostSteps(weights, host_precision)
        self._blocks = [
            _Block(f"layer_{index}", layer, self._host, executor, plan) for index, layer in enumerate(weights.layers)
        ]
        self._next_norms = [layer.attention_norm for layer in weights.layers[1:]]
        self._final_norm = weights.final_norm

    @property
    def dimensions(self) -> EncoderDimensions:
        """The size of the model."""
        return self._dimensions

    def encode(self, log_mels: Sequence[FloatArray], states: Sequence[FloatArray]) -> None:
        """Encode a batch of windows in place.

        Args:
            log_mels: one ``[n_mels, frames]`` a window; ``frames`` may differ between windows.
            states: one ``[frames / 2, d_model]`` a window; receives the result.
                The arrays are those that ``check_windows`` lets pass.

        Raises:
            DeviceError: if the device failed; some of the states may have been written then.
        """
        windows = (_Arrays(log_mel, output) for log_mel, output in zip(log_mels, states, strict=True))
        for _, error in self.encode_each(lambda: next(windows, None), len(log_mels)):
            if error is not None:
                raise error

    def encode_each(
        self, waiting: Callable[[], AnyWindow | None], at_most: int
    ) -> Iterator[tuple[AnyWindow, EncoderError | None]]:
        """Encode windows as they come: ``EncoderBackend.encode_each``, with None where all went well."""
        room = min(at_most, self._windows_in_progress)
        running: list[_InProgress[AnyWindow]] = []
        while True:
            while len(running) < room and (window := waiting()) is not None:
                running.append(_InProgress(window, self._steps(window.log_mel, window.states)))
            if not running:
                return
            # The one that waits longest, where none is ready: the device works in order.
            item = running.pop(next((index for index, item in enumerate(running) if item.ready()), 0))
            if item.advance():
                running.append(item)
            else:
                yield item.window, item.error

    def _steps(self, log_mel: FloatArray, states: FloatArray) -> Steps[None]:
        check_windows(self._dimensions, [log_mel], [states])
        x, normed = self._host.stem(log_mel, self._plan.qkv)
        for block, next_norm in zip(self._blocks[:-1], self._next_norms, strict=True):
            x, mlp = yield from block(x, normed)
            x, normed = self._host.add_and_norm(x, mlp, next_norm, self._plan.qkv)
        x, mlp = yield from self._blocks[-1](x, normed)
        self._host.add_and_last_norm(x, mlp, self._final_norm, states)


@dataclass(frozen=True, slots=True)
class _Arrays:
    """A window of a batch."""

    log_mel: FloatArray
    states: FloatArray


class _InProgress(Generic[AnyWindow]):
    """A window on its way through the layers.

    Attributes:
        error: what ended it early, if anything did.
    """

    def __init__(self, window: AnyWindow, steps: Steps[None]) -> None:
        self.window = window
        self.error: EncoderError | None = None
        self._steps = steps
        self._product: PendingGemm | None = None

    def ready(self) -> bool:
        """Whether ``advance`` need not wait for the device."""
        return self._product is None or self._product.done()

    def advance(self) -> bool:
        """Work until the next product is on the device; false once nothing is left to do."""
        try:
            self._product = self._steps.send(self._product.result()) if self._product else next(self._steps)
        except StopIteration:
            return False
        except EncoderError as error:
            self.error = error
            return False
        return True


class _Block:
    """One transformer layer, from behind its first LayerNorm to before its last addition.

    The host does what lies between two products in one step, so a block begins and ends inside one.
    """

    def __init__(
        self, name: str, weights: LayerWeights, host: HostSteps, executor: GemmExecutor, plan: LayerPlan
    ) -> None:
        self._host = host
        self._plan = plan
        self._qkv = _Linear(f"{name}/qkv", _fuse(weights, host.n_heads), executor, plan.qkv)
        self._out = _Linear(f"{name}/out", weights.attention_out, executor, plan.out)
        self._mlp_norm = weights.mlp_norm
        self._fc1 = _Linear(f"{name}/fc1", weights.mlp_in, executor, plan.fc1)
        self._fc2 = _Linear(f"{name}/fc2", weights.mlp_out, executor, plan.fc2)

    def __call__(self, x: FloatArray, normed: Activation) -> Steps[tuple[FloatArray, Product]]:
        """``x`` ``[ctx, d_model]`` and its norm, to the new ``x`` and what is to be added to it."""
        qkv = yield from self._qkv(normed)
        out = yield from self._out(self._host.attention(qkv, self._plan.out))
        x, normed = self._host.add_and_norm(x, out, self._mlp_norm, self._plan.fc1)
        hidden = yield from self._fc1(normed)
        mlp = yield from self._fc2(self._host.gelu(hidden, self._plan.fc2))
        return x, mlp


class _Linear:
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
        """``[rows, n_in]`` to ``[rows, n_out]``; scales and bias are left to the host's next step."""
        values = yield self._executor.start(self._name, x.values)
        return Product(values, x.scales, self._scales, self._bias)


def _fuse(layer: LayerWeights, n_heads: int) -> LinearWeights:
    """Query, key and value as one layer ``[3 * d_model, d_model]``, with the scale of the attention in the query."""
    d_head = len(layer.query.bias) // n_heads
    scale = np.float32(d_head**-0.5)
    return LinearWeights(
        np.concatenate([layer.query.weight * scale, layer.key.weight, layer.value.weight]),
        np.concatenate([layer.query.bias * scale, layer.key.bias, layer.value.bias]),
    )
