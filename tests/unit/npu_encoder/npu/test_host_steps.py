"""The host's steps between two products, each against its formula in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, softmax

from npu_encoder.bfloat16 import from_bfloat16, to_bfloat16
from npu_encoder.npu.gemm import Precision
from npu_encoder.npu.host_steps import Activation, HostSteps, Product
from npu_encoder.weights import EncoderWeights, LayerNormWeights, read_weights
from tests.support.spoken_clips import DEMO_MODEL

CTX, D_MODEL, N_HEADS = 150, 192, 4
BF16_ERROR = 2.0**-8
"""Half a step of bf16, relative."""

PRECISIONS: tuple[Precision, ...] = ("int8", "bf16")
FloatArray = NDArray[np.float32]


@pytest.fixture(scope="module")
def weights() -> EncoderWeights:
    return read_weights(DEMO_MODEL)


@pytest.fixture(scope="module", params=["auto", "f32"])
def host(request: pytest.FixtureRequest, weights: EncoderWeights) -> HostSteps:
    return HostSteps(weights, request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def product(rng: np.random.Generator, columns: int, of: Precision) -> tuple[Product, NDArray[np.float64]]:
    """Make a random product, and the linear layer's result that it means."""
    bias = rng.standard_normal((1, columns), np.float32)
    if of == "bf16":
        floats = rng.standard_normal((CTX, columns), np.float32)
        return Product(floats, None, None, bias), np.add(floats, bias, dtype=np.float64)
    values = rng.integers(-200_000, 200_000, (CTX, columns), np.int32)
    rows, channels = (rng.uniform(0.001, 0.004, shape).astype(np.float32) for shape in ((CTX, 1), (1, columns)))
    scales = np.multiply(rows, channels, dtype=np.float64)
    return Product(values, rows, channels, bias), np.add(values * scales, bias, dtype=np.float64)


def exactly(values: ArrayLike) -> Product:
    """Make a product that is the layer's result already."""
    floats = np.asarray(values, np.float32)
    return Product(floats, None, None, np.zeros((1, floats.shape[1]), np.float32))


def assert_means(actual: Activation, expected: NDArray[np.float64], error: float = 1e-5) -> None:
    """Allow for half a step of its numbers, and for ``error`` of the largest value of what was rounded."""
    rounded = np.abs(expected).max() * error
    if actual.scales is None:
        numbers = from_bfloat16(actual.values)
        assert np.all(np.abs(numbers - expected) <= BF16_ERROR * np.abs(expected) + rounded)
        return
    assert np.all(np.abs(actual.values.astype(np.int16)).max(axis=1) == 127)
    assert np.all(np.abs(actual.values * actual.scales - expected) <= 0.501 * actual.scales + rounded)


def layer_norm(x: NDArray[np.float64], norm: LayerNormWeights) -> NDArray[np.float64]:
    centred = x - x.mean(axis=1, keepdims=True)
    normed: NDArray[np.float64] = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return normed * norm.gamma + norm.beta


def gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    y: NDArray[np.float64] = x * ndtr(x)
    return y


def conv(x: NDArray[np.float64], weight: FloatArray, bias: FloatArray, stride: int) -> NDArray[np.float64]:
    padded = np.pad(x, ((0, 0), (1, 1)))
    taps = [weight[:, :, tap].astype(np.float64) @ padded[:, tap : tap + x.shape[1]] for tap in range(3)]
    return gelu(np.add(np.sum(taps, axis=0), bias[:, np.newaxis], dtype=np.float64)[:, ::stride])


@pytest.mark.parametrize("to", PRECISIONS)
def test_stem(host: HostSteps, weights: EncoderWeights, rng: np.random.Generator, to: Precision) -> None:
    log_mel = rng.uniform(-1, 1, (80, 2 * CTX)).astype(np.float32)
    x, normed = host.stem(log_mel, to)

    hidden = conv(log_mel.astype(np.float64), weights.conv1.weight, weights.conv1.bias, 1)
    expected = conv(hidden, weights.conv2.weight, weights.conv2.bias, 2).T + weights.positions[:CTX]
    assert np.linalg.norm(x - expected) < 0.005 * np.linalg.norm(expected)
    assert_means(normed, layer_norm(x.astype(np.float64), weights.layers[0].attention_norm))


@pytest.mark.parametrize("of", PRECISIONS)
@pytest.mark.parametrize("to", PRECISIONS)
def test_attention(host: HostSteps, rng: np.random.Generator, of: Precision, to: Precision) -> None:
    qkv, result = product(rng, 3 * D_MODEL, of)
    mixed = host.attention(qkv, to, 0)

    query, key, value = result.reshape(CTX, 3, N_HEADS, -1).transpose(1, 2, 0, 3)
    heads = softmax(query @ key.swapaxes(1, 2), axis=-1) @ value
    assert_means(mixed, heads.swapaxes(0, 1).reshape(CTX, D_MODEL), error=0.05)


@pytest.mark.parametrize("of", PRECISIONS)
@pytest.mark.parametrize("to", PRECISIONS)
def test_add_and_norm(
    host: HostSteps, weights: EncoderWeights, rng: np.random.Generator, of: Precision, to: Precision
) -> None:
    added, result = product(rng, D_MODEL, of)
    x = rng.standard_normal((CTX, D_MODEL), np.float32)
    before = x.copy()
    y, normed = host.add_and_norm(x, added, weights.final_norm, to)
    states = np.empty_like(x)
    host.add_and_last_norm(x, added, weights.final_norm, states)

    expected = layer_norm(before + result, weights.final_norm)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_allclose(y, before + result, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(states, expected, atol=1e-4)
    assert_means(normed, expected)


@pytest.mark.parametrize("of", PRECISIONS)
@pytest.mark.parametrize("to", PRECISIONS)
def test_gelu(host: HostSteps, rng: np.random.Generator, of: Precision, to: Precision) -> None:
    hidden, result = product(rng, 4 * D_MODEL, of)
    assert_means(host.gelu(hidden, to), gelu(result))


def test_layers_of_one_size_keep_their_own_constants(host: HostSteps, rng: np.random.Generator) -> None:
    layers = [product(rng, 4 * D_MODEL, "int8") for _ in range(3)]
    for hidden, result in [*layers, *layers]:
        assert_means(host.gelu(hidden, "bf16"), gelu(result))


def test_gelu_is_the_one_of_the_error_function(host: HostSteps) -> None:
    x = np.linspace(-12, 12, 100 * D_MODEL).reshape(100, D_MODEL)
    assert_means(host.gelu(exactly(x), "bf16"), gelu(x), error=1e-6)


def test_bf16_is_the_nearest_where_openvino_cuts_it_off(
    monkeypatch: pytest.MonkeyPatch, weights: EncoderWeights, rng: np.random.Generator
) -> None:
    # GELU leaves positive numbers above 12 as they are, so that only their conversion is seen.
    monkeypatch.setattr("npu_encoder.npu.host_graphs.rounds_to_bf16", lambda: False)
    x = np.exp2(rng.uniform(4, 100, (CTX, D_MODEL))).astype(np.float32)
    x[0, :3] = 257, 259, 511.5  # two ties, and one that is carried into the next power of two
    rounded = HostSteps(weights, "f32").gelu(exactly(x), "bf16")
    np.testing.assert_array_equal(rounded.values, to_bfloat16(x))


def test_each_row_has_its_own_scale(host: HostSteps) -> None:
    # GELU leaves large positive numbers as they are.
    y = host.gelu(exactly([[10, 20, 40], [10_000, 20_000, 40_000]]), "int8")

    assert y.values.tolist() == [[32, 64, 127], [32, 64, 127]]
    assert y.scales is not None
    np.testing.assert_allclose(y.scales, [[40 / 127], [40_000 / 127]], rtol=1e-6)


def test_zero_and_tiny_rows_become_zeros(host: HostSteps) -> None:
    y = host.gelu(exactly([[0.0, 0.0], [1e-40, -1e-38], [10.0, 0.0]]), "int8")

    assert y.values.tolist() == [[0, 0], [0, 0], [127, 0]]
    assert np.all(np.isfinite(y.arrays[1]))


def test_nan_stays_nan_in_bf16(host: HostSteps) -> None:
    y = host.gelu(exactly([[np.nan, 10]]), "bf16")
    assert np.isnan(from_bfloat16(y.values)).tolist() == [[True, False]]


def test_a_read_only_product_will_do(host: HostSteps, rng: np.random.Generator) -> None:
    hidden, result = product(rng, D_MODEL, "bf16")
    hidden.values.flags.writeable = False
    assert_means(host.gelu(hidden, "bf16"), gelu(result))
