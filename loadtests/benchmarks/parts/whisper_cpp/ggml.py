"""A CTranslate2 Whisper directory as one file of whisper.cpp's ggml format, float16.

Layout, little-endian, as read by ``whisper_model_load`` of whisper.cpp::

    i32 magic, i32 x 11 sizes
    i32 n_mels, i32 n_frequencies, f32 x n_mels x n_frequencies mel filters
    i32 n_tokens, n_tokens x (i32 length, bytes)
    any number of (i32 rank, i32 length of the name, i32 is_float16, i32 x rank shape, innermost first, name, data)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from deployments.mel.mel_filters import mel_filters
from npu_encoder.model_file import ModelFile
from npu_encoder.weights import MODEL_FILE

Tensor = NDArray[np.floating[Any]]

MAGIC = 0x67676D6C
FLOAT16 = 1
END_OF_TEXT = "<|endoftext|>"
NORM = {"weight": "gamma", "bias": "beta"}
LINEAR = {"weight": "weight", "bias": "bias"}


def convert(model_dir: Path, output: Path) -> None:
    """Write ``model_dir``'s model to ``output``.

    Raises:
        ModelFormatError: the directory holds no readable Whisper model.
    """
    with ModelFile(model_dir / MODEL_FILE) as model, output.open("wb") as file:
        _write_sizes(model, file)
        _write_filters(model.shape("encoder/conv1/weight")[1], file)
        _write_tokens(model_dir, file)
        for name, tensor in _tensors(model):
            _write_tensor(name, tensor, file)


def _write_sizes(model: ModelFile, file: BinaryIO) -> None:
    d_model, n_mels, _ = model.shape("encoder/conv1/weight")
    encoder = (model.shape("encoder/position_encodings/encodings")[0], d_model, model.integer("encoder/num_heads"))
    decoder = (model.shape("decoder/position_encodings/encodings")[0], d_model, model.integer("decoder/num_heads"))
    n_vocab = model.shape("decoder/embeddings/weight")[0]
    sizes = (n_vocab, *encoder, _n_layers(model, "encoder"), *decoder, _n_layers(model, "decoder"), n_mels, FLOAT16)
    file.write(struct.pack("<12i", MAGIC, *sizes))


def _n_layers(model: ModelFile, half: str) -> int:
    count = 0
    while f"{half}/layer_{count}/self_attention/linear_0/weight" in model:
        count += 1
    return count


def _write_filters(n_mels: int, file: BinaryIO) -> None:
    filters = np.ascontiguousarray(mel_filters(n_mels).toarray(), np.float32)
    file.write(struct.pack("<2i", *filters.shape) + filters.tobytes())


def _write_tokens(model_dir: Path, file: BinaryIO) -> None:
    """Write the tokens that are text, as bytes; whisper.cpp makes up the names of the special ones that follow them."""
    vocabulary = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    count = vocabulary.token_to_id(END_OF_TEXT)
    file.write(struct.pack("<i", count))
    for number in range(count):
        token = _token_bytes(vocabulary.id_to_token(number))
        file.write(struct.pack("<i", len(token)) + token)


def _token_bytes(text: str) -> bytes:
    """Undo GPT-2's byte-level alphabet: printable bytes are themselves, all others follow from U+0100."""
    return bytes(BYTE_OF[character] for character in text)


def _byte_of() -> dict[str, int]:
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable} | {chr(256 + rank): byte for rank, byte in enumerate(others)}
    if set(alphabet) != set(ByteLevel.alphabet()):
        raise AssertionError("the byte-level alphabet is not the tokenizer's")
    return alphabet


BYTE_OF = _byte_of()


def _tensors(model: ModelFile) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors by OpenAI's names, which whisper.cpp uses."""
    for conv in ("conv1", "conv2"):
        yield f"encoder.{conv}.weight", model.tensor(f"encoder/{conv}/weight")
        yield f"encoder.{conv}.bias", model.tensor(f"encoder/{conv}/bias").reshape(-1, 1)
    yield "encoder.positional_embedding", model.tensor("encoder/position_encodings/encodings")
    yield "decoder.positional_embedding", model.tensor("decoder/position_encodings/encodings")
    yield "decoder.token_embedding.weight", model.tensor("decoder/embeddings/weight")
    yield from _renamed(model, "encoder.ln_post", "encoder/layer_norm", NORM)
    yield from _renamed(model, "decoder.ln", "decoder/layer_norm", NORM)
    for half in ("encoder", "decoder"):
        for layer in range(_n_layers(model, half)):
            yield from _layer(model, f"{half}.blocks.{layer}", f"{half}/layer_{layer}")


def _layer(model: ModelFile, name: str, source: str) -> Iterator[tuple[str, Tensor]]:
    yield from _attention(model, f"{name}.attn", f"{source}/self_attention", (("query", "key", "value"), ("out",)))
    if f"{source}/attention/linear_0/weight" in model:
        parts = (("query",), ("key", "value"), ("out",))
        yield from _attention(model, f"{name}.cross_attn", f"{source}/attention", parts)
    yield from _renamed(model, f"{name}.mlp_ln", f"{source}/ffn/layer_norm", NORM)
    yield from _renamed(model, f"{name}.mlp.0", f"{source}/ffn/linear_0", LINEAR)
    yield from _renamed(model, f"{name}.mlp.2", f"{source}/ffn/linear_1", LINEAR)


def _attention(
    model: ModelFile, name: str, source: str, parts: tuple[tuple[str, ...], ...]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the projections apart, without a bias of the key, as whisper.cpp wants them; CTranslate2 fuses them."""
    yield from _renamed(model, f"{name}_ln", f"{source}/layer_norm", NORM)
    for number, names in enumerate(parts):
        weights = np.split(model.tensor(f"{source}/linear_{number}/weight"), len(names))
        biases = np.split(model.tensor(f"{source}/linear_{number}/bias"), len(names))
        for part, weight, bias in zip(names, weights, biases, strict=True):
            yield f"{name}.{part}.weight", weight
            if part != "key":
                yield f"{name}.{part}.bias", bias


def _renamed(model: ModelFile, name: str, source: str, kinds: dict[str, str]) -> Iterator[tuple[str, Tensor]]:
    for kind, source_kind in kinds.items():
        yield f"{name}.{kind}", model.tensor(f"{source}/{source_kind}")


def _write_tensor(name: str, tensor: Tensor, file: BinaryIO) -> None:
    """Write a tensor: vectors, biases and positions in float32, as whisper.cpp wants them."""
    is_float16 = tensor.ndim > 1 and name.endswith("weight")
    stored = np.ascontiguousarray(tensor, np.float16 if is_float16 else np.float32)
    encoded = name.encode()
    file.write(struct.pack("<3i", stored.ndim, len(encoded), is_float16))
    file.write(struct.pack(f"<{stored.ndim}i", *reversed(stored.shape)))
    file.write(encoded + stored.tobytes())
