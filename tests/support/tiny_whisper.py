"""A random multilingual Whisper of a few hundred kilobytes, written as a CTranslate2 directory.

Its text is nonsense, but everything that depends on tokens is real: language detection, language and task
tokens, timestamps, suppression.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
)

from loadtests.common.random_whisper import N_MELS, Shape, random_spec

LANGUAGES = ("en", "de", "fr", "ja")
D_MODEL = 16
SHAPE = Shape(D_MODEL, heads=2, encoder_layers=1, decoder_layers=1)

_WORDS = 300


def _special(languages: Sequence[str]) -> tuple[str, ...]:
    return (
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in languages),
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
        *(f"<|{0.02 * step:.2f}|>" for step in range(1501)),
    )


def make_multilingual_model(
    path: Path, seed: int = 0, *, n_mels: int = N_MELS, languages: Sequence[str] = LANGUAGES
) -> Path:
    """Write model.bin, config.json, vocabulary.json, tokenizer.json and preprocessor_config.json to ``path``.

    Encoder states are ``[frames, 16]``, text tokens read ``" word0"`` and so on, equal seeds give equal files.
    """
    return _write(path, _tokenizer(languages, multilingual=True), languages, np.random.default_rng(seed), SHAPE, n_mels)


def make_english_model(path: Path, shape: Shape = SHAPE) -> Path:
    """Write an English-only model: as ``make_multilingual_model``, but its vocabulary lacks the empty token."""
    tokenizer = _tokenizer(LANGUAGES, multilingual=False)
    return _write(path, tokenizer, LANGUAGES, np.random.default_rng(0), shape, N_MELS)


def _write(
    path: Path, tokenizer: Tokenizer, languages: Sequence[str], rng: np.random.Generator, shape: Shape, n_mels: int
) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "preprocessor_config.json").write_text(json.dumps({"feature_size": n_mels}), encoding="utf-8")

    spec = random_spec(rng, tokenizer.get_vocab_size(), shape, n_mels)
    spec.register_vocabulary([tokenizer.id_to_token(token) for token in range(tokenizer.get_vocab_size())])
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokenizer.token_to_id("<|endoftext|>")]
    spec.config.lang_ids = [tokenizer.token_to_id(f"<|{code}|>") for code in languages]
    spec.config.alignment_heads = [(0, 0), (0, 1)]
    spec.validate()
    spec.optimize()
    spec.save(str(path))
    return path


def _tokenizer(languages: Sequence[str], *, multilingual: bool) -> Tokenizer:
    """Byte tokens first, then whole words, then the special tokens in Whisper's order.

    The empty token before them is what CTranslate2 knows a multilingual vocabulary by.
    """
    text = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(f"Ġword{number}" for number in range(_WORDS))]
    if multilingual:
        text.append("")
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(text)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _special(languages)])
    return tokenizer
