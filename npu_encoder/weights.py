"""The weights of Whisper's encoder, read from a CTranslate2 model directory as float32 arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npu_encoder.errors import ModelFormatError
from npu_encoder.model_file import ModelFile
from npu_encoder.silence import TrailingSilence, read_silence

MODEL_FILE = "model.bin"
KERNEL_SIZE = 3
FEED_FORWARD_FACTOR = 4


@dataclass(frozen=True, slots=True)
class EncoderDimensions:
    """The size of an encoder.

    Attributes:
        n_mels: mel bins of the input.
        n_audio_ctx: most encoder states per window; one state takes two mel frames.
        d_model: width of a state.
        n_heads: attention heads per layer.
        n_layers: transformer layers.
    """

    n_mels: int
    n_audio_ctx: int
    d_model: int
    n_heads: int
    n_layers: int

    @property
    def max_frames(self) -> int:
        """The mel frames of the longest window: 3000, which is 30 s."""
        return 2 * self.n_audio_ctx


@dataclass(frozen=True, slots=True)
class LayerNormWeights:
    """Scale ``gamma`` and shift ``beta`` of a LayerNorm: ``[d_model]`` each."""

    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LinearWeights:
    """``weight`` ``[n_out, n_in]`` and ``bias`` ``[n_out]`` of a linear layer."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ConvWeights:
    """``weight`` ``[n_out, n_in, 3]`` and ``bias`` ``[n_out]`` of a convolution."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One transformer layer: ``x += out(attention(qkv(norm(x))))``, then ``x += mlp_out(gelu(mlp_in(norm(x))))``.

    Attributes:
        attention_norm: the norm before the attention.
        query, key, value, attention_out: ``[d_model, d_model]``; Whisper's ``key`` has no bias, stored as zeros.
        mlp_norm: the norm before the MLP.
        mlp_in: ``[4 * d_model, d_model]``.
        mlp_out: ``[d_model, 4 * d_model]``.
    """

    attention_norm: LayerNormWeights
    query: LinearWeights
    key: LinearWeights
    value: LinearWeights
    attention_out: LinearWeights
    mlp_norm: LayerNormWeights
    mlp_in: LinearWeights
    mlp_out: LinearWeights


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """The weights of the whole encoder.

    Attributes:
        dimensions: the sizes that all shapes follow from.
        conv1: ``[d_model, n_mels, 3]``, stride 1.
        conv2: ``[d_model, d_model, 3]``, stride 2.
        positions: ``[n_audio_ctx, d_model]``.
        layers: the transformer layers, in order.
        final_norm: the norm after the last layer.
        silence: what stands for the silence behind a window of less than 30 s; None if nothing does.
    """

    dimensions: EncoderDimensions
    conv1: ConvWeights
    conv2: ConvWeights
    positions: NDArray[np.float32]
    layers: tuple[LayerWeights, ...]
    final_norm: LayerNormWeights
    silence: TrailingSilence | None = None


def read_dimensions(model_dir: Path) -> EncoderDimensions:
    """Read the encoder's size from the headers of ``model_dir/model.bin`` alone.

    Raises:
        ModelFormatError: if the directory holds no readable Whisper model.
    """
    with _open(model_dir) as file:
        return _dimensions(file)


def read_weights(model_dir: Path, silence: Path | None = None) -> EncoderWeights:
    """Read all weights of the encoder in ``model_dir/model.bin``; the decoder's part is never touched.

    Args:
        model_dir: a CTranslate2 Whisper directory.
        silence: a file that ``write_silence`` wrote for this model; None if there is none.

    Raises:
        ModelFormatError: if the directory holds no readable Whisper model, or ``silence`` belongs to another one.
    """
    with _open(model_dir) as file:
        dimensions = _dimensions(file)
        d_model = dimensions.d_model
        return EncoderWeights(
            dimensions=dimensions,
            conv1=_conv(file, "encoder/conv1", d_model, dimensions.n_mels),
            conv2=_conv(file, "encoder/conv2", d_model, d_model),
            positions=_tensor(file, "encoder/position_encodings/encodings", dimensions.n_audio_ctx, d_model),
            layers=tuple(_layer(file, f"encoder/layer_{i}", d_model) for i in range(dimensions.n_layers)),
            final_norm=_layer_norm(file, "encoder/layer_norm", d_model),
            silence=None if silence is None else _silence(silence, dimensions),
        )


def _silence(path: Path, dimensions: EncoderDimensions) -> TrailingSilence:
    silence = read_silence(path)
    expected = dimensions.n_layers, dimensions.d_model, dimensions.n_audio_ctx
    found = silence.layers.shape[0], silence.layers.shape[2], silence.n_audio_ctx
    if found != expected:
        raise ModelFormatError(
            f"The file {path} was made for another model (layers, width, positions: {found} instead of {expected}); "
            "delete it, and make it again with: amanuensis model tune"
        )
    return silence


def _open(model_dir: Path) -> ModelFile:
    path = model_dir / MODEL_FILE
    if not path.is_file():
        raise ModelFormatError(f"The directory {model_dir} holds no {MODEL_FILE}: give a CTranslate2 Whisper directory")
    return ModelFile(path)


def _dimensions(file: ModelFile) -> EncoderDimensions:
    n_layers = 0
    while f"encoder/layer_{n_layers}/self_attention/linear_0/weight" in file:
        n_layers += 1
    match file.shape("encoder/conv1/weight"), file.shape("encoder/position_encodings/encodings"):
        case (d_model, n_mels, _), (n_audio_ctx, _):
            n_heads = file.integer("encoder/num_heads")
        case shapes:
            raise _damaged(f"conv1 and positions have the shapes {shapes}")
    if n_layers == 0:
        raise _damaged("it has no layers")
    if n_heads <= 0 or d_model % n_heads:
        raise _damaged(f"its width {d_model} does not divide into {n_heads} heads")
    return EncoderDimensions(n_mels, n_audio_ctx, d_model, n_heads, n_layers)


def _layer(file: ModelFile, name: str, d_model: int) -> LayerWeights:
    attention, mlp, d_mlp = f"{name}/self_attention", f"{name}/ffn", FEED_FORWARD_FACTOR * d_model
    query, key, value = _split_rows(_linear(file, f"{attention}/linear_0", 3 * d_model, d_model), 3)
    return LayerWeights(
        attention_norm=_layer_norm(file, f"{attention}/layer_norm", d_model),
        query=query,
        key=key,
        value=value,
        attention_out=_linear(file, f"{attention}/linear_1", d_model, d_model),
        mlp_norm=_layer_norm(file, f"{mlp}/layer_norm", d_model),
        mlp_in=_linear(file, f"{mlp}/linear_0", d_mlp, d_model),
        mlp_out=_linear(file, f"{mlp}/linear_1", d_model, d_mlp),
    )


def _split_rows(linear: LinearWeights, parts: int) -> list[LinearWeights]:
    weights, biases = np.split(linear.weight, parts), np.split(linear.bias, parts)
    return [LinearWeights(weight, bias) for weight, bias in zip(weights, biases, strict=True)]


def _conv(file: ModelFile, name: str, n_out: int, n_in: int) -> ConvWeights:
    weight = _tensor(file, f"{name}/weight", n_out, n_in, KERNEL_SIZE)
    return ConvWeights(weight, _tensor(file, f"{name}/bias", n_out))


def _linear(file: ModelFile, name: str, n_out: int, n_in: int) -> LinearWeights:
    return LinearWeights(_tensor(file, f"{name}/weight", n_out, n_in), _tensor(file, f"{name}/bias", n_out))


def _layer_norm(file: ModelFile, name: str, d_model: int) -> LayerNormWeights:
    return LayerNormWeights(_tensor(file, f"{name}/gamma", d_model), _tensor(file, f"{name}/beta", d_model))


def _tensor(file: ModelFile, name: str, *shape: int) -> NDArray[np.float32]:
    if file.shape(name) != shape:
        raise _damaged(f"{name} has the shape {file.shape(name)} instead of {shape}")
    return file.tensor(name)


def _damaged(what: str) -> ModelFormatError:
    return ModelFormatError(f"The encoder in {MODEL_FILE} is damaged, {what}: copy or convert the model again")
