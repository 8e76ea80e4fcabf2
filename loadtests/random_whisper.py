"""A Whisper of any shape with random weights, as CTranslate2 keeps it: its text is nonsense, its cost is real."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ctranslate2.specs import WhisperSpec
from numpy.typing import NDArray

N_MELS = 80
AUDIO_POSITIONS = 1500
TEXT_POSITIONS = 448


@dataclass(frozen=True, slots=True)
class Shape:
    """``encoder_layers`` and ``decoder_layers`` of width ``d_model`` with ``heads`` heads each."""

    d_model: int
    heads: int
    encoder_layers: int
    decoder_layers: int


def random_spec(rng: np.random.Generator, vocabulary_size: int, shape: Shape, n_mels: int = N_MELS) -> Any:
    """The ``WhisperSpec``; what belongs to the tokenizer is still to be registered. Equal ``rng``, equal weights."""
    spec: Any = WhisperSpec(shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads)
    filler = _Filler(rng, shape.d_model)
    filler.conv(spec.encoder.conv1, n_mels)
    filler.conv(spec.encoder.conv2, shape.d_model)
    for stack, positions in ((spec.encoder, AUDIO_POSITIONS), (spec.decoder, TEXT_POSITIONS)):
        stack.position_encodings.encodings = filler.normal(positions, shape.d_model)
        filler.norm(stack.layer_norm)
        for layer in stack.layer:
            filler.self_attention(layer.self_attention)
            filler.feed_forward(layer.ffn)
    for layer in spec.decoder.layer:
        filler.cross_attention(layer.attention)
    spec.decoder.embeddings.weight = filler.normal(vocabulary_size, shape.d_model)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    return spec


@dataclass(frozen=True, slots=True)
class _Filler:
    rng: np.random.Generator
    d_model: int

    def normal(self, *shape: int) -> NDArray[np.float32]:
        return self.rng.standard_normal(shape, np.float32)

    def conv(self, conv: Any, inputs: int) -> None:
        conv.weight = self.normal(self.d_model, inputs, 3) / np.float32(np.sqrt(3 * inputs))
        conv.bias = np.zeros(self.d_model, np.float32)

    def norm(self, layer: Any) -> None:
        layer.gamma = np.ones(self.d_model, np.float32)
        layer.beta = np.zeros(self.d_model, np.float32)

    def linear(self, layer: Any, inputs: int, outputs: int) -> None:
        layer.weight = self.normal(outputs, inputs) / np.float32(np.sqrt(inputs))
        layer.bias = np.zeros(outputs, np.float32)

    def self_attention(self, block: Any) -> None:
        self.norm(block.layer_norm)
        self.linear(block.linear[0], self.d_model, 3 * self.d_model)
        self.linear(block.linear[1], self.d_model, self.d_model)

    def cross_attention(self, block: Any) -> None:
        self.norm(block.layer_norm)
        self.linear(block.linear[0], self.d_model, self.d_model)
        self.linear(block.linear[1], self.d_model, 2 * self.d_model)
        self.linear(block.linear[2], self.d_model, self.d_model)

    def feed_forward(self, block: Any) -> None:
        self.norm(block.layer_norm)
        self.linear(block.linear_0, self.d_model, 4 * self.d_model)
        self.linear(block.linear_1, 4 * self.d_model, self.d_model)
