"""What the NPU encoder leaves to the host, in one thread: ``python -m loadtests.host_share``.

The device is replaced by one that answers at once, so what is left is the host's share of a window: convolutions,
attention, LayerNorm, GELU, conversions. Beside it the whole encoder on the same thread, by OpenVINO.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from npu_encoder.audio_encoder import PLANS, AudioEncoder, PlanName
from npu_encoder.gemm import GemmWeight, PendingGemm
from npu_encoder.openvino_cpu import compile_graph, resolve_precision
from npu_encoder.openvino_graph import build_encoder
from npu_encoder.weights import (
    ConvWeights,
    EncoderDimensions,
    EncoderWeights,
    LayerNormWeights,
    LayerWeights,
    LinearWeights,
)

SHAPES = {
    "demo (4 layers, 192 wide)": EncoderDimensions(80, 1500, 192, 3, 4),
    "base (6 layers, 512 wide)": EncoderDimensions(80, 1500, 512, 8, 6),
}
FRAMES = (400, 3000)
PLANS_SHOWN: tuple[PlanName, ...] = ("bf16", "int8")
RUNS = 15
WARM_UP = 3


@dataclass(frozen=True)
class _Answered:
    product: NDArray[np.int32] | NDArray[np.float32]

    def done(self) -> bool:
        return True

    def result(self) -> NDArray[np.int32] | NDArray[np.float32]:
        return self.product


class InstantDevice:
    """A ``GemmExecutor`` whose products are ones, and cost nothing."""

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}
        self._products: dict[tuple[int, int, bool], _Answered] = {}

    @property
    def device(self) -> str:
        return "none"

    def load(self, weight: GemmWeight) -> None:
        self._columns[weight.name] = weight.values.shape[1]

    def start(self, name: str, x: NDArray[np.int8] | NDArray[np.uint16]) -> PendingGemm:
        key = (len(x), self._columns[name], x.dtype == np.int8)
        if key not in self._products:
            self._products[key] = _Answered(np.ones(key[:2], np.int32 if key[2] else np.float32))
        return self._products[key]

    def close(self) -> None:
        self._products.clear()


def main() -> None:
    print(f"milliseconds a window on one thread, median of {RUNS} (lowest-highest)\n")
    print("| model | frames | host's share, bf16 | host's share, int8 | whole encoder, OpenVINO |")
    print("| --- | --- | --- | --- | --- |")
    for name, dimensions in SHAPES.items():
        weights = random_weights(dimensions)
        for frames in FRAMES:
            shares = [_measure(_host(weights, plan, frames)) for plan in PLANS_SHOWN]
            row = (name, str(frames), *shares, _measure(_whole(weights, frames)))
            print("| " + " | ".join(row) + " |")


def random_weights(dimensions: EncoderDimensions) -> EncoderWeights:
    """Of the right shapes; their values do not change how long anything takes."""
    random = np.random.default_rng(0)
    d = dimensions.d_model

    def array(*shape: int) -> NDArray[np.float32]:
        return random.normal(0, 0.02, shape).astype(np.float32)

    def linear(n_out: int, n_in: int) -> LinearWeights:
        return LinearWeights(array(n_out, n_in), array(n_out))

    def norm() -> LayerNormWeights:
        return LayerNormWeights(np.ones(d, np.float32), np.zeros(d, np.float32))

    layers = tuple(
        LayerWeights(
            attention_norm=norm(),
            query=linear(d, d),
            key=linear(d, d),
            value=linear(d, d),
            attention_out=linear(d, d),
            mlp_norm=norm(),
            mlp_in=linear(4 * d, d),
            mlp_out=linear(d, 4 * d),
        )
        for _ in range(dimensions.n_layers)
    )
    return EncoderWeights(
        dimensions=dimensions,
        conv1=ConvWeights(array(d, dimensions.n_mels, 3), array(d)),
        conv2=ConvWeights(array(d, d, 3), array(d)),
        positions=array(dimensions.n_audio_ctx, d),
        layers=layers,
        final_norm=norm(),
    )


def _host(weights: EncoderWeights, plan: PlanName, frames: int) -> Callable[[], None]:
    encoder = AudioEncoder(weights, InstantDevice(), PLANS[plan])
    log_mel, states = _window(weights.dimensions, frames)
    return lambda: encoder.encode([log_mel], [states])


def _whole(weights: EncoderWeights, frames: int) -> Callable[[], None]:
    core = ov.Core()
    compiled = compile_graph(core, build_encoder(weights, frames), precision=resolve_precision(core, "auto"), threads=1)
    log_mel, _ = _window(weights.dimensions, frames)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(log_mel, shared_memory=True))
    return lambda: request.infer() and None


def _window(dimensions: EncoderDimensions, frames: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.zeros((dimensions.n_mels, frames), np.float32), np.empty((frames // 2, dimensions.d_model), np.float32)


def _measure(work: Callable[[], None]) -> str:
    for _ in range(WARM_UP):
        work()
    times_ms = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        times_ms.append(1000 * (time.perf_counter() - began))
    return f"{statistics.median(times_ms):.1f} ({min(times_ms):.1f}-{max(times_ms):.1f})"


if __name__ == "__main__":
    main()
