"""Reading encoder weights. CTranslate2 is the judge: its own writer makes the variants, its own encoder runs them."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from npu_encoder.cpu.ctranslate2 import CTranslate2Backend
from npu_encoder.cpu.openvino import OpenVinoBackend
from npu_encoder.errors import ModelFormatError
from npu_encoder.model_file import ModelFile
from npu_encoder.weights import EncoderDimensions, EncoderWeights, read_dimensions, read_weights
from tests.support.paths import DEMO_MODEL

N_DECODER_LAYERS = 3
FRAMES = 96

ROUNDING_ERRORS = {"float32": 0.0, "bfloat16": 2**-8, "int16": 0.5 / 2**10, "int8": 0.5 / 127}
"""The largest rounding error, as a share of the largest weight of the tensor."""


def write_variant(directory: Path, quantization: str, change: Callable[[Any], None] = lambda _spec: None) -> Path:
    """Write the demo model, changed and quantised, as CTranslate2's converters would have written it."""
    from ctranslate2.specs import WhisperSpec, model_spec  # noqa: PLC0415  (imports PyTorch: seconds)

    dimensions = read_dimensions(DEMO_MODEL)
    spec = WhisperSpec(dimensions.n_layers, dimensions.n_heads, N_DECODER_LAYERS, dimensions.n_heads)
    with ModelFile(DEMO_MODEL / "model.bin") as file:

        def fill(layer: Any, name: str, value: object) -> None:
            if name in file and value in (None, model_spec.OPTIONAL):
                setattr(layer, name.rpartition("/")[2], file.tensor(name))

        model_spec.visit_spec(spec, fill)
    change(spec)
    spec.register_vocabulary(json.loads((DEMO_MODEL / "vocabulary.json").read_text()))
    spec.validate()
    spec.optimize(quantization)
    spec.save(str(directory))
    return directory


def matrices(weights: EncoderWeights) -> Iterator[NDArray[np.float32]]:
    """Yield the tensors that may be stored as integers, joined as they are stored: with one scale."""
    yield from (weights.conv1.weight, weights.conv2.weight)
    for layer in weights.layers:
        yield np.concatenate([layer.query.weight, layer.key.weight, layer.value.weight])
        yield from (layer.attention_out.weight, layer.mlp_in.weight, layer.mlp_out.weight)


def vectors(weights: EncoderWeights) -> Iterator[NDArray[np.float32]]:
    """Yield the tensors that are always stored as floats."""
    yield from (weights.conv1.bias, weights.conv2.bias, weights.positions)
    for layer in weights.layers:
        for linear in (layer.query, layer.key, layer.value, layer.attention_out, layer.mlp_in, layer.mlp_out):
            yield linear.bias
        for norm in (layer.attention_norm, layer.mlp_norm):
            yield from (norm.gamma, norm.beta)
    yield from (weights.final_norm.gamma, weights.final_norm.beta)


def assert_close(
    actual: Iterator[NDArray[np.float32]], expected: Iterator[NDArray[np.float32]], rounding_error: float
) -> None:
    for read, original in zip(actual, expected, strict=True):
        assert read.dtype == np.float32
        tolerance = 1.001 * rounding_error * float(np.abs(original).max())
        np.testing.assert_allclose(read, original, rtol=0, atol=tolerance)


def assert_encodes_like_ctranslate2(model_dir: Path) -> None:
    """Compare states: CTranslate2 dequantises for itself, so equal states mean equal weights."""
    log_mel = np.random.default_rng(0).standard_normal((80, FRAMES)).astype(np.float32)
    ours, theirs = np.zeros((2, FRAMES // 2, 192), np.float32)
    OpenVinoBackend(model_dir, precision="f32").encode([log_mel], [ours])
    CTranslate2Backend(model_dir, compute_type="float32").encode([log_mel], [theirs])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def demo_weights() -> EncoderWeights:
    return read_weights(DEMO_MODEL)


def test_dimensions() -> None:
    expected = EncoderDimensions(n_mels=80, n_audio_ctx=1500, d_model=192, n_heads=4, n_layers=4)
    assert read_dimensions(DEMO_MODEL) == expected
    assert expected.max_frames == 3000


def test_weights_follow_the_dimensions(demo_weights: EncoderWeights) -> None:
    layer = demo_weights.layers[-1]
    assert len(demo_weights.layers) == 4
    assert demo_weights.conv1.weight.shape == (192, 80, 3)
    assert demo_weights.positions.shape == (1500, 192)
    assert layer.key.weight.shape == (192, 192)
    assert layer.mlp_in.weight.shape == (768, 192)
    assert not layer.key.bias.any(), "Whisper's keys have no bias"
    assert layer.query.bias.any()


@pytest.mark.parametrize("quantization", ROUNDING_ERRORS)
def test_every_storage_type(tmp_path: Path, demo_weights: EncoderWeights, quantization: str) -> None:
    model_dir = write_variant(tmp_path, quantization)

    assert read_dimensions(model_dir) == demo_weights.dimensions
    weights = read_weights(model_dir)
    assert_close(matrices(weights), matrices(demo_weights), ROUNDING_ERRORS[quantization])
    assert_close(vectors(weights), vectors(demo_weights), 2**-8 if quantization == "bfloat16" else 0.0)
    assert_encodes_like_ctranslate2(model_dir)


def test_aliased_tensors_share_data_and_scale(tmp_path: Path) -> None:
    def repeat_a_layer(spec: Any) -> None:
        spec.encoder.layer[2].ffn.linear_1.weight = spec.encoder.layer[1].ffn.linear_1.weight

    model_dir = write_variant(tmp_path, "int8", repeat_a_layer)

    layers = read_weights(model_dir).layers
    np.testing.assert_array_equal(layers[2].mlp_out.weight, layers[1].mlp_out.weight)
    assert_encodes_like_ctranslate2(model_dir)


def test_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"holds no model\.bin"):
        read_dimensions(tmp_path)


@pytest.mark.parametrize("n_bytes", [1, 3, 10, 30, 50, 5_000_000, 9_163_230])
def test_truncated_model(tmp_path: Path, n_bytes: int) -> None:
    (tmp_path / "model.bin").write_bytes((DEMO_MODEL / "model.bin").read_bytes()[:n_bytes])
    with pytest.raises(ModelFormatError, match="truncated"):
        read_weights(tmp_path)


def test_empty_model(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(ModelFormatError, match="empty"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(struct.pack("<I", 6), struct.pack("<I", 5), "binary version", id="old version"),
        pytest.param(struct.pack("<I", 6), b"RIFF", "binary version", id="another format"),
        pytest.param(b"WhisperSpec\0", b"UnknownSpec\0", "UnknownSpec", id="another model"),
        pytest.param(b"WhisperSpec\0\3", b"WhisperSpec\0\2", "revision 2", id="old revision"),
        pytest.param(b"encoder/num_heads", b"encoder/num_hands", "num_heads is missing", id="no heads"),
        pytest.param(b"encoder/num_heads\0\0\2", b"encoder/num_heads\0\0\4", "integer scalar", id="half a head"),
        pytest.param(b"encoder/num_heads\0\0\2", b"encoder/num_heads\0\0\7", "unknown dtype 7", id="unknown dtype"),
        pytest.param(
            b"encoder/num_heads\0\0\2\2\0\0\0\4",
            b"encoder/num_heads\0\0\2\2\0\0\0\5",
            "192 does not divide into 5",
            id="five heads",
        ),
        pytest.param(
            b"encoder/layer_0/self_attention/linear_0/weight",
            b"encoder/layer_9/self_attention/linear_0/weight",
            "no layers",
            id="no layers",
        ),
        pytest.param(
            b"encoder/conv2/bias\0\1\xc0\0", b"encoder/conv2/bias\0\1\xc0\1", "size of", id="too long a shape"
        ),
        pytest.param(
            b"encoder/conv1/weight\0\3\xc0\0\0\0\x50",
            b"encoder/conv1/weight\0\3\x60\0\0\0\xa0",
            "shape",
            id="inconsistent widths",
        ),
        pytest.param(
            b"encoder/conv2/bias\0\1\xc0\0\0\0\4",
            b"encoder/conv2/bias\0\1\xc0\0\0\0\2",
            "conv2/bias_scale is missing",
            id="integers without a scale",
        ),
    ],
)
def test_damaged_model(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    original = (DEMO_MODEL / "model.bin").read_bytes()
    assert old in original
    (tmp_path / "model.bin").write_bytes(original.replace(old, new, 1))
    with pytest.raises(ModelFormatError, match=message):
        read_weights(tmp_path)
