"""What an embedding is made of, and that it tells voices apart."""

from __future__ import annotations

import numpy as np
import pytest

from deployments.diarizer.filter_banks import BANKS, filter_banks
from deployments.diarizer.voices import BATCH, PIECE_FRAMES, embed, embed_recording, unit
from tests.support.paths import AUDIO
from tests.support.spoken_clips import pcm_of

RNG = np.random.default_rng(0)
CLIP = filter_banks(pcm_of(sorted(AUDIO.glob("*.wav"))[0]))


def test_no_pieces_have_no_embeddings() -> None:
    assert embed([]).shape == (0, 192)


def test_embeddings_have_length_one() -> None:
    found = embed([CLIP[:PIECE_FRAMES], CLIP[-PIECE_FRAMES:]])
    assert found.shape == (2, 192)
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("count", [1, BATCH, BATCH + 1])
def test_a_piece_has_the_same_embedding_alone_and_among_others(count: int) -> None:
    pieces = [CLIP[5 * number :][:PIECE_FRAMES] for number in range(count)]
    alone = np.concatenate([embed([piece]) for piece in pieces])
    assert (alone * embed(pieces)).sum(axis=1) == pytest.approx(1.0, abs=2e-3)


def test_loudness_does_not_count() -> None:
    one, louder = embed([CLIP[:PIECE_FRAMES], CLIP[:PIECE_FRAMES] + np.float32(2.0)])
    assert float(one @ louder) == pytest.approx(1.0, abs=1e-3)


def test_of_a_long_piece_the_middle_is_taken() -> None:
    begin = (len(CLIP) - PIECE_FRAMES) // 2
    whole, middle = embed([CLIP, CLIP[begin : begin + PIECE_FRAMES]])
    assert float(whole @ middle) == pytest.approx(1.0, abs=1e-3)


def test_a_short_piece_is_repeated() -> None:
    once, twice = embed([CLIP[: PIECE_FRAMES // 2], np.tile(CLIP[: PIECE_FRAMES // 2], (2, 1))])
    assert float(once @ twice) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("n_samples", [1, 400, 16_000, 32_000, 200_000])
def test_a_recording_of_any_length_has_one_embedding(n_samples: int) -> None:
    voice = embed_recording(RNG.integers(-3000, 3000, n_samples).astype(np.int16))
    assert voice.shape == (192,)
    assert np.linalg.norm(voice) == pytest.approx(1.0, abs=1e-5)


def test_the_direction_of_nothing_is_finite() -> None:
    assert np.array_equal(unit(np.zeros((2, BANKS), np.float32)), np.zeros((2, BANKS)))
