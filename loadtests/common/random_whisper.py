"""Making a Whisper of any shape with random weights, as CTranslate2 keeps it: its text is nonsense, its cost is real.

``python -m loadtests.common.random_whisper DIRECTORY --like DIR [--shape small]`` writes one with the tokenizer of
a real model, for ``python -m loadtests.load.crowd --model DIRECTORY``: a larger model than the machine is made for, so
that the service must be slow, and must not break.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_MELS = 80
AUDIO_POSITIONS = 1500
TEXT_POSITIONS = 448
END_OF_TEXT = "<|endoftext|>"
END_SIGMAS = 2.4
"""How far the logit of the end lies below the largest one: texts last some tens of tokens, as real ones do."""

COPIED = ("tokenizer.json", "preprocessor_config.json")
SETTINGS = ("suppress_ids", "suppress_ids_begin", "lang_ids")


@dataclass(frozen=True, slots=True)
class Shape:
    """``encoder_layers`` and ``decoder_layers`` of width ``d_model`` with ``heads`` heads each."""

    d_model: int
    heads: int
    encoder_layers: int
    decoder_layers: int


SHAPES = {"base": Shape(512, 8, 6, 6), "small": Shape(768, 12, 12, 12), "medium": Shape(1024, 16, 24, 24)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("directory", type=Path, help="to write; it may be given as WHISPER_MODEL then")
    parser.add_argument("--like", type=Path, required=True, help="directory of a real model, for its tokenizer")
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    options = parser.parse_args()
    write_like(options.directory, options.like, SHAPES[options.shape])


def random_spec(rng: np.random.Generator, vocabulary_size: int, shape: Shape, n_mels: int = N_MELS) -> Any:
    """Return the ``WhisperSpec``, without what belongs to the tokenizer. Equal ``rng``, equal weights."""
    from ctranslate2.specs import WhisperSpec  # noqa: PLC0415  (imports PyTorch where it is installed: seconds)

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


def write_like(directory: Path, like: Path, shape: Shape) -> None:
    """Write a random model of ``shape`` with the tokenizer, the vocabulary and the token rules of another one.

    Raises:
        FileNotFoundError: ``like`` is no CTranslate2 directory of a Whisper model.
    """
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary, config = _vocabulary(like), json.loads((like / "config.json").read_text(encoding="utf-8"))
    rng = np.random.default_rng(0)
    spec = random_spec(rng, len(vocabulary), shape)
    spec.register_vocabulary(vocabulary)
    for name in SETTINGS:
        setattr(spec.config, name, config[name])
    spec.config.alignment_heads = [(shape.decoder_layers - 1, head) for head in range(shape.heads)]
    _end_texts(spec, rng, vocabulary.index(END_OF_TEXT))
    spec.validate()
    spec.optimize()
    spec.save(str(directory))
    for name in COPIED:
        if (like / name).exists():
            shutil.copyfile(like / name, directory / name)


def _vocabulary(directory: Path) -> list[str]:
    listed = directory / "vocabulary.json"
    if listed.exists():
        return [str(token) for token in json.loads(listed.read_text(encoding="utf-8"))]
    return (directory / "vocabulary.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _end_texts(spec: Any, rng: np.random.Generator, end: int) -> None:
    """Make texts that neither repeat one token nor run to the limit of tokens.

    Random embeddings that are used for the output as well predict the token that came last, so the output gets its own;
    the logit of the end of a text is raised to ``END_SIGMAS`` standard deviations below the largest one to be expected.
    """
    vocabulary_size, d_model = spec.decoder.embeddings.weight.shape
    spec.decoder.projection.weight = rng.standard_normal((vocabulary_size, d_model), np.float32)
    towards = spec.decoder.projection.weight[end]
    sigmas = np.sqrt(2 * np.log(vocabulary_size)) - END_SIGMAS
    raised = sigmas * np.sqrt(d_model) * towards / (towards @ towards)
    spec.decoder.layer_norm.beta = raised.astype(np.float32)


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


if __name__ == "__main__":
    main()
