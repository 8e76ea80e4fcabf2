"""A model of random weights is a whole one: it is read like any other, and its texts end."""

from __future__ import annotations

import json
from pathlib import Path

import ctranslate2
import numpy as np
import pytest

from deployments.shared.model.description import load_model
from deployments.shared.settings import Settings
from loadtests.common.random_whisper import AUDIO_POSITIONS, N_MELS, Shape, write_like
from tests.support.tiny_whisper import SHAPE, make_multilingual_model

WIDE = Shape(64, heads=4, encoder_layers=1, decoder_layers=2)
LIMIT = 224


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_multilingual_model(tmp_path_factory.mktemp("models") / "real")


def test_it_has_the_tokens_of_the_model_that_it_is_like_and_a_shape_of_its_own(real: Path, tmp_path: Path) -> None:
    write_like(tmp_path / "wide", real, WIDE)
    model = load_model(Settings.resolve({"whisper_model": str(tmp_path / "wide")}))
    assert model.multilingual
    assert model.languages == load_model(Settings.resolve({"whisper_model": str(real)})).languages
    assert model.dimensions.d_model == 64 != SHAPE.d_model
    assert (tmp_path / "wide" / "tokenizer.json").read_bytes() == (real / "tokenizer.json").read_bytes()


def test_its_texts_end_and_do_not_repeat_one_token(real: Path, tmp_path: Path) -> None:
    write_like(tmp_path / "wide", real, WIDE)
    tokens = json.loads((tmp_path / "wide" / "vocabulary.json").read_text(encoding="utf-8"))
    prompt = [tokens.index(name) for name in ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")]
    model = ctranslate2.models.Whisper(str(tmp_path / "wide"))
    log_mel = np.random.default_rng(1).uniform(-1, 1, (6, N_MELS, 2 * AUDIO_POSITIONS)).astype(np.float32)
    states = model.encode(ctranslate2.StorageView.from_array(log_mel))
    texts = [answer.sequences_ids[0] for answer in model.generate(states, [prompt] * 6, beam_size=1)]
    assert all(0 < len(text) < LIMIT for text in texts)
    assert any(len(set(text)) > 1 for text in texts)
