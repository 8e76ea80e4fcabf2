"""Which chunks a recording is heard in, and what the model's classes mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deployments.diarizer import segmentation
from deployments.diarizer.segmentation import (
    BATCH,
    CHUNK,
    FRAME_STEP,
    FRAMES,
    SPEAKERS,
    STEP_FRAMES,
    chunk_starts,
    segment,
)
from deployments.shared.frames import SAMPLE_RATE

STEP = STEP_FRAMES * FRAME_STEP
CLASSES = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
"""As pyannote's powerset numbers them."""


@given(st.integers(0, 20 * 60 * SAMPLE_RATE))
def test_every_sample_is_in_a_chunk_and_no_chunk_is_needless(n_samples: int) -> None:
    begins = [start * FRAME_STEP for start in chunk_starts(n_samples)]
    assert begins == list(range(0, len(begins) * STEP, STEP))
    assert begins[-1] + CHUNK >= n_samples
    assert len(begins) == 1 or begins[-2] + CHUNK < n_samples


@pytest.mark.parametrize(
    ("n_samples", "chunks"),
    [(0, 1), (1, 1), (CHUNK, 1), (CHUNK + 1, 2), (CHUNK + STEP, 2), (CHUNK + STEP + 1, 3), (3600 * SAMPLE_RATE, 1439)],
)
def test_how_many_chunks_there_are(n_samples: int, chunks: int) -> None:
    assert len(chunk_starts(n_samples)) == chunks


class Scripted:
    """A model that finds one class per frame, and notes what it is given."""

    def __init__(self, classes: NDArray[np.int64]) -> None:
        self.classes = classes
        self.rows: list[NDArray[np.float32]] = []

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        self.rows.append(rows.copy())
        one_hot = np.eye(len(CLASSES), dtype=np.float32)[self.classes]
        return np.broadcast_to(one_hot, (len(rows), *one_hot.shape))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    model = Scripted(np.arange(FRAMES) % len(CLASSES))
    monkeypatch.setattr(segmentation, "_model", lambda: model)
    return model


def test_a_class_is_nobody_or_one_or_two_of_three(scripted: Scripted) -> None:
    (active,) = segment([np.zeros(CHUNK, np.int16)])
    assert active.shape == (FRAMES, SPEAKERS)
    found = [tuple(np.flatnonzero(frame).tolist()) for frame in active]
    assert found == [CLASSES[number] for number in scripted.classes]


def test_the_model_gets_samples_between_minus_one_and_one_and_silence_behind_them(scripted: Scripted) -> None:
    list(segment([np.full(100, -32768, np.int16), np.full(CHUNK, 16384, np.int16)]))
    (rows,) = scripted.rows
    assert rows.shape == (2, 1, CHUNK)
    assert np.array_equal(np.unique(rows[0, 0, :100]), [-1.0])
    assert not rows[0, 0, 100:].any()
    assert np.array_equal(np.unique(rows[1]), [0.5])


def test_a_chunk_is_heard_alike_alone_and_among_others() -> None:
    rng = np.random.default_rng(3)
    chunks = [rng.integers(-2000, 2000, CHUNK).astype(np.int16) for _ in range(3)]
    together = list(segment(chunks))
    assert 1 < len(chunks) < BATCH
    for chunk, active in zip(chunks, together, strict=True):
        (alone,) = segment([chunk])
        assert (alone == active).mean() > 0.999
