"""The demo model as whisper.cpp reads it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from loadtests.benchmarks.parts.whisper_cpp.ggml import convert
from loadtests.benchmarks.parts.whisper_cpp.server import started
from npu_encoder.model_file import ModelFile
from tests.support.paths import DEMO_MODEL


@dataclass
class Read:
    """What a reader of the format finds."""

    sizes: tuple[int, ...]
    filters: NDArray[np.float32]
    tokens: list[bytes]
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Read:
    path = tmp_path_factory.mktemp("ggml") / "model.bin"
    convert(DEMO_MODEL, path)
    with path.open("rb") as file:
        return _read(file)


def _read(file: BinaryIO) -> Read:
    sizes = _integers(file, 12)
    shape = _integers(file, 2)
    filters = np.fromfile(file, np.float32, shape[0] * shape[1]).reshape(shape)
    tokens = [file.read(_integers(file, 1)[0]) for _ in range(_integers(file, 1)[0])]
    read = Read(sizes, filters, tokens)
    while header := file.read(12):
        rank, length, is_float16 = struct.unpack("<3i", header)
        dimensions = _integers(file, rank)[::-1]
        name = file.read(length).decode()
        dtype = np.float16 if is_float16 else np.float32
        read.tensors[name] = np.fromfile(file, dtype, int(np.prod(dimensions))).reshape(dimensions)
    return read


def _integers(file: BinaryIO, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}i", file.read(4 * count))


def test_the_sizes_are_the_model_s(converted: Read) -> None:
    magic, n_vocab, n_audio_ctx, d_model, *_ = converted.sizes
    assert magic.to_bytes(4, "big") == b"ggml"
    assert (n_vocab, n_audio_ctx, d_model) == (2534, 1500, 192)
    assert converted.filters.shape == (80, 201)


def test_tokens_are_the_bytes_of_their_text(converted: Read) -> None:
    ids = Tokenizer.from_file(str(DEMO_MODEL / "tokenizer.json")).encode(" the café - ok", add_special_tokens=False).ids
    assert b"".join(converted.tokens[token] for token in ids).decode() == " the café - ok"


def test_fused_projections_are_taken_apart_and_lose_nothing(converted: Read) -> None:
    with ModelFile(DEMO_MODEL / "model.bin") as model:
        fused = model.tensor("decoder/layer_1/self_attention/linear_0/weight")
        key_bias = np.split(model.tensor("decoder/layer_1/self_attention/linear_0/bias"), 3)[1]
    parts = [converted.tensors[f"decoder.blocks.1.attn.{part}.weight"] for part in ("query", "key", "value")]
    np.testing.assert_array_equal(np.concatenate(parts), fused.astype(np.float16))
    assert not key_bias.any(), "whisper.cpp knows no bias of the key, so there must be none to lose"
    assert "decoder.blocks.1.attn.key.bias" not in converted.tensors


def test_every_tensor_that_whisper_cpp_asks_for_is_there(converted: Read) -> None:
    n_encoder, n_decoder = converted.sizes[5], converted.sizes[9]
    assert len(converted.tensors) == 11 + 15 * n_encoder + 24 * n_decoder


def test_a_model_of_other_tokens_than_openai_s_is_refused_before_anything_is_built() -> None:
    with pytest.raises(RuntimeError, match="knows no model with 2534 tokens"), started(DEMO_MODEL):
        pass
