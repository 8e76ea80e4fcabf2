"""Pieces of about two seconds: where they are cut, and what their embeddings are made of."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deployments.diarizer.filter_banks import BANKS, HOP, filter_banks
from deployments.diarizer.pieces import LEAST_FEATURES, LONGEST_S, SLACK, Piece, cut, runs
from deployments.diarizer.segmentation import CHUNK, FRAME_S, FRAME_STEP, FRAMES, SPEAKERS, Active

NOISE = np.random.default_rng(0).integers(-3000, 3000, CHUNK).astype(np.int16)


def active(*stretches: tuple[int, float, float]) -> Active:
    """Return who speaks: speaker, from and to in seconds."""
    frames = np.zeros((FRAMES, SPEAKERS), np.bool_)
    for speaker, begin_s, end_s in stretches:
        frames[round(begin_s / FRAME_S) : round(end_s / FRAME_S), speaker] = True
    return frames


def pieces_of(frames: Active, pcm: NDArray[np.int16] = NOISE) -> list[Piece]:
    return [piece for piece, _ in cut(7, frames, pcm)]


def seconds(piece: Piece) -> float:
    return (piece.end - piece.begin) * FRAME_S


@given(st.lists(st.booleans(), max_size=40))
def test_runs_are_the_true_stretches(values: list[bool]) -> None:
    array = np.array(values, np.bool_)
    found = runs(array)
    again = np.zeros(len(array), np.bool_)
    for begin, end in found:
        assert begin < end
        again[begin:end] = True
    assert np.array_equal(again, array)
    assert all(one[1] < other[0] for one, other in pairwise(found))


def test_silence_has_no_pieces() -> None:
    assert pieces_of(active()) == []


@pytest.mark.parametrize(("length_s", "count"), [(0.5, 1), (2.0, 1), (2.4, 1), (2.6, 2), (4.4, 2), (4.6, 3), (9.9, 5)])
def test_long_speech_is_cut_into_even_pieces(length_s: float, count: int) -> None:
    found = pieces_of(active((1, 0.0, length_s)))
    assert len(found) == count
    lengths = [seconds(piece) for piece in found]
    assert max(lengths) - min(lengths) <= 2 * FRAME_S
    assert max(lengths) <= LONGEST_S * (1 + SLACK) + FRAME_S
    assert {(piece.chunk, piece.speaker) for piece in found} == {(7, 1)}
    assert [piece.begin for piece in found[1:]] == [piece.end for piece in found[:-1]], "nothing is left out"


def test_a_short_pause_does_not_cut_and_a_long_one_does() -> None:
    assert len(pieces_of(active((0, 1.0, 1.6), (0, 1.8, 2.4)))) == 1
    assert len(pieces_of(active((0, 1.0, 1.6), (0, 2.0, 2.6)))) == 2


def test_a_pause_in_which_somebody_else_speaks_cuts() -> None:
    found = pieces_of(active((0, 1.0, 1.6), (0, 1.8, 2.4), (2, 1.6, 1.8)))
    assert [piece.speaker for piece in found] == [0, 0, 2]


def test_clean_seconds_are_those_in_which_nobody_else_speaks() -> None:
    first, second = pieces_of(active((0, 1.0, 3.0), (1, 2.5, 3.5)))
    assert first.clean_s == pytest.approx(1.5, abs=2 * FRAME_S)
    assert second.clean_s == pytest.approx(0.5, abs=2 * FRAME_S)


def test_features_are_the_frames_of_one_voice_alone() -> None:
    banks = filter_banks(NOISE)
    ((_, features), _) = cut(0, active((0, 1.0, 3.0), (1, 2.0, 3.0)), NOISE)
    assert features.shape[1] == BANKS
    assert len(features) == pytest.approx(100, abs=4)
    start = next(i for i in range(len(banks)) if np.array_equal(banks[i], features[0]))
    assert start * HOP == pytest.approx(16_000, abs=2 * FRAME_STEP)
    assert np.array_equal(features, banks[start : start + len(features)])


def test_who_never_speaks_alone_is_taken_as_it_is() -> None:
    found = list(cut(0, active((0, 1.0, 3.0), (1, 1.0, 3.0)), NOISE))
    assert [piece.clean_s for piece, _ in found] == [0.0, 0.0]
    assert all(len(features) == pytest.approx(200, abs=4) for _, features in found)


def test_what_is_too_short_to_be_a_voice_is_no_piece() -> None:
    assert pieces_of(active((0, 1.0, 1.0 + LEAST_FEATURES * 0.01 / 2))) == []


def test_speech_behind_the_end_of_the_audio_is_no_piece() -> None:
    assert pieces_of(active((0, 5.0, 6.0)), NOISE[:16_000]) == []
    assert len(pieces_of(active((0, 0.5, 6.0)), NOISE[:24_000])) == 1


def test_the_level_is_that_of_the_piece() -> None:
    pcm = np.concatenate((np.full(CHUNK // 2, 3277, np.int16), np.full(CHUNK // 2, 328, np.int16)))
    loud, quiet = pieces_of(active((0, 1.0, 2.0), (0, 7.0, 8.0)), pcm)
    assert (loud.level_db, quiet.level_db) == pytest.approx((-20.0, -40.0), abs=0.1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, CHUNK))
def test_whatever_the_model_says_pieces_lie_in_the_chunk(seed: int, n_samples: int) -> None:
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.random((FRAMES // 19, SPEAKERS)) < 0.4, 19, axis=0)
    for piece, features in cut(0, frames, NOISE[:n_samples]):
        assert 0 <= piece.begin < piece.end <= FRAMES
        assert 0.0 <= piece.clean_s <= seconds(piece) + 1e-9
        assert len(features) >= LEAST_FEATURES
        assert np.isfinite(features).all()
        assert np.isfinite(piece.level_db)
