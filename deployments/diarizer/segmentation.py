"""Who speaks at the same time and who in turn, within ten seconds: pyannote's segmentation-3.0.

The model tells up to three speakers of one chunk apart, two of them at the same moment. Which of them is the same
person as in another chunk it does not know.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deployments.diarizer.inference import SmallModel
from deployments.shared.frames import SAMPLE_RATE

FRAME_STEP: Final = 270
"""Samples from one frame of the model to the next."""

FRAME_S: Final = FRAME_STEP / SAMPLE_RATE
CHUNK: Final = 10 * SAMPLE_RATE
FRAMES: Final = 589
"""Frames of one chunk."""

STEP_FRAMES: Final = 148
"""From one chunk to the next: 2.5 s. Each moment is heard in four chunks, and most of them see who speaks before and
after it."""

SPEAKERS: Final = 3
"""Of one chunk, at most."""

BATCH: Final = 4

Active = NDArray[np.bool_]
"""``[FRAMES, SPEAKERS]``: who speaks in each frame of a chunk."""


def chunk_starts(n_samples: int) -> range:
    """Return the frame that each chunk of a recording begins at."""
    needed = max(0, n_samples - CHUNK)
    step = STEP_FRAMES * FRAME_STEP
    return range(0, (-(-needed // step) + 1) * STEP_FRAMES, STEP_FRAMES)


def segment(chunks: list[NDArray[np.int16]]) -> Iterator[Active]:
    """Yield who speaks in each of the chunks; silence fills up one that is shorter than ten seconds."""
    rows = np.zeros((len(chunks), 1, CHUNK), np.float32)
    for row, chunk in zip(rows, chunks, strict=True):
        np.multiply(chunk, np.float32(1 / 32768), out=row[0, : len(chunk)])
    yield from _speakers_of_class()[_model()(rows).argmax(axis=-1)]


@functools.cache
def _speakers_of_class() -> NDArray[np.bool_]:
    """Return who speaks in each class of the model: nobody, one of three, two of three."""
    sets = [each for size in range(3) for each in combinations(range(SPEAKERS), size)]
    return np.array([[speaker in each for speaker in range(SPEAKERS)] for each in sets])


@functools.cache
def _model() -> SmallModel:
    return SmallModel("segmentation", (BATCH, 1, CHUNK))
