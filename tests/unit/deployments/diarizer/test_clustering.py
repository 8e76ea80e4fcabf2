"""Which pieces are by the same speaker: voices that are made up as unit vectors, like and unlike as real ones are."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from time import process_time

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.diarizer import clustering
from deployments.diarizer.clustering import BLOCK, Voices, find_voices
from deployments.diarizer.pieces import Piece
from deployments.diarizer.voices import Float32, unit

DIMENSIONS = 192
LIKENESS = 0.6
"""Mean cosine of two pieces by one speaker; of two speakers it is 0."""

PIECES_OF_A_CHUNK = 4
MIB = 2**20


@dataclass
class Recording:
    """Pieces of made-up voices.

    Attributes:
        speakers: who speaks each piece; -1 for a mixture of two.
    """

    pieces: list[Piece]
    embeddings: Float32
    speakers: NDArray[np.int64]

    def voices(self, fewest: int | None = None, most: int | None = None) -> Voices:
        return find_voices(self.pieces, self.embeddings, fewest, most)

    def right(self, labels: NDArray[np.int64]) -> float:
        """Return the share of the pieces by one voice that lie with most others by it, each label being one voice."""
        pure = self.speakers >= 0
        table = np.zeros((int(self.speakers.max()) + 1, int(labels.max()) + 1))
        np.add.at(table, (self.speakers[pure], labels[pure]), 1)
        return float(min(table.max(axis=0).sum(), table.max(axis=1).sum()) / pure.sum())


def centres(rng: np.random.Generator, count: int) -> Float32:
    return unit(rng.normal(size=(count, DIMENSIONS)).astype(np.float32))


def heard(rng: np.random.Generator, centre: Float32) -> Float32:
    """Return one piece's embedding: two by the same centre have a cosine of ``LIKENESS`` in the mean."""
    spread = np.sqrt((1 / LIKENESS - 1) / DIMENSIONS)
    return unit(centre + rng.normal(0, spread, DIMENSIONS).astype(np.float32))


def recording(seed: int, order: list[int], clean_s: float = 2.0, mixtures: int = 0) -> Recording:
    """Return a recording in which the voices speak in an order, and two at once in a few more pieces."""
    rng = np.random.default_rng(seed)
    voices = centres(rng, max(order) + 1)
    embeddings = [heard(rng, voices[who]) for who in order]
    for _ in range(mixtures):
        one, other = rng.choice(len(voices), 2, replace=False)
        embeddings.append(heard(rng, unit(voices[one] + voices[other])))
    speakers = np.array(order + [-1] * mixtures)
    pieces = [piece(number, int(who), clean_s) for number, who in enumerate(speakers)]
    return Recording(pieces, np.stack(embeddings), speakers)


def piece(number: int, speaker: int, clean_s: float) -> Piece:
    """Return a piece in a chunk with the three before and after it; the model takes each voice for another speaker."""
    chunk, place = divmod(number, PIECES_OF_A_CHUNK)
    return Piece(chunk, speaker % 3, 118 * place, 118 * (place + 1), clean_s, -20.0)


def turns_of(voices: int, count: int, seed: int = 0) -> list[int]:
    """Return an order in which each voice speaks for two pieces at a time, and all speak about as much."""
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(voices) for _ in range(-(-count // (2 * voices)))]
    return [int(voice) for voice in np.repeat(np.concatenate(rounds), 2)[:count]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("voices", [1, 2, 4, 20])
def test_as_many_speakers_are_found_as_speak(voices: int, seed: int) -> None:
    made = recording(seed, turns_of(voices, 20 * voices, seed))
    found = made.voices()
    assert len(found.centres) == voices
    assert found.centres.dtype == np.float32
    assert np.linalg.norm(found.centres, axis=1) == pytest.approx(1.0, abs=1e-4)
    assert made.right(found.labels) == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_a_mixture_of_two_voices_is_nobody(seed: int) -> None:
    made = recording(seed, turns_of(3, 60, seed), mixtures=4)
    found = made.voices()
    assert len(found.centres) == 3
    assert made.right(found.labels) == 1.0


def test_who_speaks_little_is_a_speaker_if_unlike_all_others() -> None:
    made = recording(1, [*turns_of(2, 60), 2, 2])
    found = made.voices()
    assert len(found.centres) == 3
    assert made.right(found.labels) == 1.0


def test_a_single_piece_is_one_speaker() -> None:
    found = recording(0, [0]).voices()
    assert found.labels.tolist() == [0]
    assert len(found.centres) == 1


@pytest.mark.parametrize("clean_s", [0.0, 0.3, 1.0])
def test_short_turns_are_enough_where_there_are_no_long_ones(clean_s: float) -> None:
    made = recording(2, turns_of(2, 40), clean_s)
    assert len(made.voices().centres) == 2


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("voices", [1, 3, 6])
def test_a_number_that_somebody_knows_is_kept(voices: int, number: int) -> None:
    found = recording(4, turns_of(voices, 72)).voices(number, number)
    assert len(found.centres) == number
    assert set(found.labels.tolist()) == set(range(number))


@pytest.mark.parametrize(
    ("fewest", "most", "found"), [(None, 2, 2), (None, 8, 4), (2, None, 4), (6, None, 6), (1, 3, 3), (5, 9, 5)]
)
def test_bounds_move_the_number_no_further_than_they_must(fewest: int | None, most: int | None, found: int) -> None:
    assert len(recording(5, turns_of(4, 80)).voices(fewest, most).centres) == found


def test_the_right_number_keeps_the_speakers_right() -> None:
    made = recording(6, turns_of(4, 80), mixtures=5)
    assert made.right(made.voices(4, 4).labels) == 1.0


def test_more_speakers_than_pieces_are_as_many_as_pieces() -> None:
    assert len(recording(7, [0, 1, 0]).voices(10, None).centres) == 3


def test_the_same_pieces_give_the_same_speakers() -> None:
    made = recording(8, turns_of(5, 100), mixtures=5)
    one, other = made.voices(), made.voices()
    assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(one.centres, other.centres)


def test_a_short_piece_goes_with_its_neighbours_of_the_same_speaker() -> None:
    rng = np.random.default_rng(9)
    made = recording(9, turns_of(2, 40))
    # The last piece of the last chunk is a syllable: its embedding says nothing, but the model knows whose it is.
    last, before = made.pieces[-1], made.pieces[-2]
    assert last.chunk == before.chunk
    made.pieces[-1] = piece(len(made.pieces) - 1, before.speaker, 0.1)
    made.embeddings[-1] = centres(rng, 1)[0]
    labels = made.voices().labels
    assert labels[-1] == labels[-2]


@pytest.mark.parametrize(("voices", "count"), [(2, BLOCK + 1), (5, 3 * BLOCK), (12, 4 * BLOCK + 7)])
def test_a_long_recording_has_the_same_speakers_as_a_short_one(voices: int, count: int) -> None:
    made = recording(10, turns_of(voices, count), mixtures=20)
    found = made.voices()
    assert len(found.centres) == voices
    assert made.right(found.labels) > 0.999


def test_a_long_recording_keeps_a_number_that_somebody_knows() -> None:
    made = recording(11, turns_of(3, 2 * BLOCK))
    assert len(made.voices(5, 5).centres) == 5
    assert len(made.voices(2, 2).centres) == 2


def test_hours_in_which_nothing_is_alike_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "BLOCK", 200)
    rng, count = np.random.default_rng(12), 3000
    made = Recording([piece(i, i, 2.0) for i in range(count)], centres(rng, count), np.arange(count))
    tracemalloc.start()
    made.voices()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * MIB, "the distances of all from all are 69 MiB"


def test_sounds_of_which_none_is_alike_take_seconds_not_minutes() -> None:
    rng, count = np.random.default_rng(13), 700
    made = Recording([piece(i, i, 2.0) for i in range(count)], centres(rng, count), np.arange(count))
    began = process_time()
    made.voices()
    assert process_time() - began < 5.0
