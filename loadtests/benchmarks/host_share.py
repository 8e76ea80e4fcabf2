"""Measure what the NPU's encoder costs the host.

``amanuensis bench host-share``: CPU milliseconds of one thread, the best of several rounds, with a device that answers
at once. Beside each figure the floor, which is what this core could not do faster: the largest of the step's
multiplications at the speed of a large matrix product, its exponentials at the speed of a bare one, and the bytes it
must read and write at the speed of a copy. All three speeds are measured in the same run. The last column is OpenVINO's
whole encoder with its linear layers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset15 as op

from loadtests.common.paths import DEMO_MODEL
from npu_encoder.graphs.audio_encoder import build_encoder
from npu_encoder.graphs.compile import compile_graph, resolve_precision
from npu_encoder.npu.audio_encoder import PLANS, AudioEncoder
from npu_encoder.npu.gemm import GemmWeight, PendingGemm, Precision
from npu_encoder.npu.host_steps import HostSteps, Product
from npu_encoder.weights import (
    ConvWeights,
    EncoderDimensions,
    EncoderWeights,
    LayerNormWeights,
    LayerWeights,
    LinearWeights,
    read_weights,
)

BASE = EncoderDimensions(n_mels=80, n_audio_ctx=1500, d_model=512, n_heads=8, n_layers=6)
FRAMES = (400, 3000)
PRECISIONS: tuple[Precision, ...] = ("bf16", "int8")

ROUNDS_S = 0.6
MIN_ROUNDS = 5

# Sizes of the products, exponentials and copies that the floor's speeds are measured with.
MATRIX, EXPONENTIALS, COPIED = 2048, 1 << 18, 1 << 22

INPUT_BYTES = {"bf16": 2, "int8": 1}
OUTPUT_BYTES = 4


@dataclass(frozen=True)
class Speed:
    """The work that one core does in a millisecond."""

    flops: float
    exponentials: float
    bytes: float

    def floor_ms(self, work: Work) -> float:
        """Return the least time that this work takes."""
        return max(work.flops / self.flops, work.exponentials / self.exponentials, work.bytes / self.bytes)


@dataclass(frozen=True)
class Work:
    """The work that a step cannot do without."""

    bytes: float
    flops: float = 0.0
    exponentials: float = 0.0


@dataclass(frozen=True)
class HostStep:
    """One kind of step: its work, how it is run, and how often per window."""

    name: str
    work: Work
    run: Callable[[], object]
    times: int


@dataclass(frozen=True)
class _InstantProduct:
    product: NDArray[np.int32] | NDArray[np.float32]
    array: str = "instant"

    def done(self) -> bool:
        return True

    def result(self) -> NDArray[np.int32] | NDArray[np.float32]:
        return self.product


class InstantGemm:
    """A device that multiplies nothing and answers at once with numbers that were there before."""

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}
        self._products: dict[tuple[int, int, Precision], _InstantProduct] = {}

    @property
    def device(self) -> str:
        return "instant"

    def load(self, weight: GemmWeight) -> None:
        self._columns[weight.name] = weight.values.shape[1]

    def start(self, name: str, x: NDArray[np.int8] | NDArray[np.uint16]) -> PendingGemm:
        precision: Precision = "int8" if x.dtype == np.int8 else "bf16"
        key = (len(x), self._columns[name], precision)
        if key not in self._products:
            self._products[key] = _InstantProduct(_values(*key))
        return self._products[key]

    def close(self) -> None:
        self._products.clear()


def main() -> None:
    speed = measure_speed()
    print(f"one core: {speed.flops / 1e9:.2f} TFLOP/s, {speed.exponentials / 1e6:.2f} G exponentials/s, ", end="")
    print(f"{speed.bytes / 1e6:.1f} GB/s (read and written)\n")
    models = {"demo": read_weights(DEMO_MODEL), "base-shaped": random_weights(BASE)}
    cases = [
        (name, weights, frames, precision)
        for name, weights in models.items()
        for frames in FRAMES
        for precision in PRECISIONS
    ]
    print("| model | frames | plan | stem | attention | add, norm | GELU | window | floor | whole encoder on the CPU |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, weights, frames, precision in cases:
        steps = list(steps_of(weights, frames, precision))
        cells = [f"{step.times} x {cpu_ms(step.run):.2f} ({speed.floor_ms(step.work):.2f})" for step in steps]
        floor = sum(step.times * speed.floor_ms(step.work) for step in steps)
        window = cpu_ms(window_of(weights, frames, precision))
        whole = cpu_ms(whole_encoder(weights, frames))
        row = (name, frames, precision, *cells, f"{window:.1f}", f"{floor:.1f}", f"{whole:.1f}")
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def steps_of(weights: EncoderWeights, frames: int, precision: Precision) -> Iterable[HostStep]:
    """Yield the four kinds of step between products, and their work."""
    host = HostSteps(weights)
    size, ctx = weights.dimensions, frames // 2
    d_model, n_layers, states = size.d_model, size.n_layers, ctx * size.d_model
    log_mel = np.zeros((size.n_mels, frames), np.float32)
    x, norm = np.ones((ctx, d_model), np.float32), weights.final_norm
    qkv, out, hidden = (_product(ctx, columns, precision) for columns in (3 * d_model, d_model, 4 * d_model))
    device = INPUT_BYTES[precision]

    conv_flops = 2 * 3 * d_model * (size.n_mels * frames + d_model * ctx)
    stem = Work(4 * log_mel.size + (4 + device) * states, flops=conv_flops)
    yield HostStep("stem", stem, lambda: host.stem(log_mel, precision), 1)
    scores = size.n_heads * ctx**2
    attention = Work(
        (3 * OUTPUT_BYTES + device) * states, flops=4 * scores * d_model / size.n_heads, exponentials=scores
    )
    yield HostStep("attention", attention, lambda: host.attention(qkv, precision, 0), n_layers)
    add_and_norm = Work((4 + OUTPUT_BYTES + 4 + device) * states)
    yield HostStep("add, norm", add_and_norm, lambda: host.add_and_norm(x, out, norm, precision), 2 * n_layers)
    # The error function costs about as much as the exponential it contains.
    gelu = Work(4 * (OUTPUT_BYTES + device) * states, exponentials=4 * states)
    yield HostStep("GELU", gelu, lambda: host.gelu(hidden, precision), n_layers)


def window_of(weights: EncoderWeights, frames: int, precision: Precision) -> Callable[[], object]:
    """Return what sends one window through the encoder, without the device's time."""
    encoder = AudioEncoder(weights, InstantGemm(), PLANS[precision])
    log_mel = np.zeros((weights.dimensions.n_mels, frames), np.float32)
    states = np.empty((frames // 2, weights.dimensions.d_model), np.float32)
    return lambda: encoder.encode([log_mel], [states])


def whole_encoder(weights: EncoderWeights, frames: int) -> Callable[[], object]:
    """Return what sends one window through OpenVINO's whole encoder."""
    core = ov.Core()
    precision = resolve_precision(core, "auto")
    graph = compile_graph(core, build_encoder(weights, frames), precision=precision, threads=1)
    request = graph.create_infer_request()
    request.set_input_tensor(ov.Tensor(np.zeros((weights.dimensions.n_mels, frames), np.float32)))
    infer: Callable[[], object] = request.infer
    return infer


def measure_speed() -> Speed:
    """Measure how fast one core multiplies, takes exponentials and copies."""
    core = ov.Core()
    matrices = ov.Type.bf16 if resolve_precision(core, "auto") == "bf16" else ov.Type.f32
    a, b = (op.parameter([MATRIX, MATRIX], matrices) for _ in range(2))
    numbers = op.parameter([EXPONENTIALS], ov.Type.f32)
    product, exponential = (
        compile_graph(core, ov.Model([result], inputs), precision="f32", threads=1).create_infer_request()
        for result, inputs in (
            (op.matmul(a, b, transpose_a=False, transpose_b=False), [a, b]),
            (op.exp(numbers), [numbers]),
        )
    )
    source, target = np.ones(COPIED, np.float32), np.zeros(COPIED, np.float32)
    return Speed(
        flops=2 * MATRIX**3 / cpu_ms(product.infer),
        exponentials=EXPONENTIALS / cpu_ms(exponential.infer),
        bytes=2 * source.nbytes / cpu_ms(lambda: np.copyto(target, source)),
    )


def cpu_ms(work: Callable[[], object]) -> float:
    """Return the CPU time of the whole process for one call: the best, because other processes only add to it."""
    work()
    best, until, rounds = float("inf"), time.monotonic() + ROUNDS_S, 0
    while rounds < MIN_ROUNDS or time.monotonic() < until:
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
        rounds += 1
    return 1000 * best


def random_weights(size: EncoderDimensions) -> EncoderWeights:
    """Return the weights of a model of this size that has learnt nothing."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape, np.float32) / np.float32(np.prod(shape[1:]) ** 0.5)

    def linear(n_out: int, n_in: int) -> LinearWeights:
        return LinearWeights(normal(n_out, n_in), normal(n_out))

    d_model = size.d_model
    norm = LayerNormWeights(np.ones(d_model, np.float32), np.zeros(d_model, np.float32))

    def layer() -> LayerWeights:
        query, key, value, out = (linear(d_model, d_model) for _ in range(4))
        mlp_in, mlp_out = linear(4 * d_model, d_model), linear(d_model, 4 * d_model)
        return LayerWeights(norm, query, key, value, out, norm, mlp_in, mlp_out)

    return EncoderWeights(
        dimensions=size,
        conv1=ConvWeights(normal(d_model, size.n_mels, 3), normal(d_model)),
        conv2=ConvWeights(normal(d_model, d_model, 3), normal(d_model)),
        positions=normal(size.n_audio_ctx, d_model),
        layers=tuple(layer() for _ in range(size.n_layers)),
        final_norm=norm,
    )


def _product(rows: int, columns: int, precision: Precision) -> Product:
    values, bias = _values(rows, columns, precision), np.zeros((1, columns), np.float32)
    if precision == "bf16":
        return Product(values, None, None, bias)
    return Product(values, np.full((rows, 1), 0.01, np.float32), np.full((1, columns), 0.01, np.float32), bias)


def _values(rows: int, columns: int, precision: Precision) -> NDArray[np.int32] | NDArray[np.float32]:
    random = np.random.default_rng(0)
    if precision == "int8":
        return random.integers(-10_000, 10_000, (rows, columns), np.int32)
    return random.standard_normal((rows, columns), np.float32)


if __name__ == "__main__":
    main()
