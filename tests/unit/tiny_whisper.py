"""A random multilingual Whisper of a few hundred kilobytes, written as a CTranslate2 directory.

Its text is nonsense, but everything that depends on tokens is real: language detection, language and task
tokens, timestamps, suppression.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import WhisperSpec
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
)

LANGUAGES = ("en", "de", "fr", "ja")
N_MELS = 80
D_MODEL = 16
MAX_FRAMES = 1500
MAX_TOKENS = 448
HEADS = 2

_WORDS = 300

_SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{code}|>" for code in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
    *(f"<|{0.02 * step:.2f}|>" for step in range(1501)),
)


def make_multilingual_model(path: Path, seed: int = 0) -> Path:
    """Write model.bin, config.json, vocabulary.json, tokenizer.json and preprocessor_config.json to ``path``.

    Encoder states are ``[frames, 16]``, text tokens read ``" word0"`` and so on, equal seeds give equal files.
    """
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "preprocessor_config.json").write_text(json.dumps({"feature_size": N_MELS}), encoding="utf-8")

    spec = _random_spec(np.random.default_rng(seed), tokenizer.get_vocab_size())
    spec.register_vocabulary([tokenizer.id_to_token(token) for token in range(tokenizer.get_vocab_size())])
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokenizer.token_to_id("<|endoftext|>")]
    spec.config.lang_ids = [tokenizer.token_to_id(f"<|{code}|>") for code in LANGUAGES]
    spec.config.alignment_heads = [(0, 0), (0, 1)]
    spec.validate()
    spec.optimize()
    spec.save(str(path))
    return path


def _tokenizer() -> Tokenizer:
    """Byte tokens first, then whole words, then the special tokens in Whisper's order.

    The empty token before them is what CTranslate2 knows a multilingual vocabulary by.
    """
    text = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(f"Ġword{number}" for number in range(_WORDS)), ""]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(text)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    return tokenizer


def _random_spec(rng: np.random.Generator, vocabulary_size: int) -> Any:
    spec = WhisperSpec(1, HEADS, 1, HEADS)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    def linear(layer: Any, inputs: int, outputs: int) -> None:
        layer.weight = normal(outputs, inputs) / np.float32(np.sqrt(inputs))
        layer.bias = np.zeros(outputs, np.float32)

    def norm(layer: Any) -> None:
        layer.gamma = np.ones(D_MODEL, np.float32)
        layer.beta = np.zeros(D_MODEL, np.float32)

    def self_attention(block: Any) -> None:
        norm(block.layer_norm)
        linear(block.linear[0], D_MODEL, 3 * D_MODEL)
        linear(block.linear[1], D_MODEL, D_MODEL)

    def feed_forward(block: Any) -> None:
        norm(block.layer_norm)
        linear(block.linear_0, D_MODEL, 4 * D_MODEL)
        linear(block.linear_1, 4 * D_MODEL, D_MODEL)

    for conv, inputs in ((spec.encoder.conv1, N_MELS), (spec.encoder.conv2, D_MODEL)):
        conv.weight = normal(D_MODEL, inputs, 3) / np.float32(np.sqrt(3 * inputs))
        conv.bias = np.zeros(D_MODEL, np.float32)
    for stack, positions in ((spec.encoder, MAX_FRAMES), (spec.decoder, MAX_TOKENS)):
        stack.position_encodings.encodings = normal(positions, D_MODEL)
        norm(stack.layer_norm)
        self_attention(stack.layer[0].self_attention)
        feed_forward(stack.layer[0].ffn)

    cross = spec.decoder.layer[0].attention
    norm(cross.layer_norm)
    linear(cross.linear[0], D_MODEL, D_MODEL)
    linear(cross.linear[1], D_MODEL, 2 * D_MODEL)
    linear(cross.linear[2], D_MODEL, D_MODEL)
    spec.decoder.embeddings.weight = normal(vocabulary_size, D_MODEL)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    return spec
