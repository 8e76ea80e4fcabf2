"""What a voice sounds like: CAM++ embeddings of short pieces of speech by one speaker."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deployments.diarizer.filter_banks import BANKS, filter_banks
from deployments.diarizer.inference import MODELS, SmallModel

PIECE_FRAMES: Final = 200
"""Frames of the filter banks that one embedding is made of: 2 s. The model needs so many."""

BATCH: Final = 4

Float32 = NDArray[np.float32]


def embed(features: list[Float32]) -> Float32:
    """Return the embedding of each piece of speech.

    Two pieces by one speaker have a cosine of about 0.6, two by different speakers one of about 0.1. To that end the
    average voice is taken off: without this all voices resemble each other (0.36 on the average).

    Args:
        features: filter banks ``[n_frames, 80]`` of each piece; what is shorter than 2 s is repeated, of what is longer
            the middle is taken.

    Returns:
        ``[n_pieces, 192]`` float32, each of length 1.
    """
    if not features:
        return np.empty((0, len(_average_voice())), np.float32)
    rows = np.stack([_of_one_length(each) for each in features])
    embeddings = _model()(rows)
    return unit(unit(embeddings) - _average_voice())


def embed_recording(pcm: NDArray[np.int16]) -> Float32:
    """Return the embedding ``[192]`` of one voice from a recording of some seconds: the mean over its pieces."""
    banks = filter_banks(pcm)
    count = max(1, round(len(banks) / PIECE_FRAMES))
    mean: Float32 = unit(embed([part for part in np.array_split(banks, count) if len(part)]).mean(axis=0))
    return mean


def unit(rows: Float32) -> Float32:
    """Return vectors of the same direction and of length 1."""
    scaled: Float32 = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)
    return scaled


def _of_one_length(features: Float32) -> Float32:
    begin = max(0, (len(features) - PIECE_FRAMES) // 2)
    middle = features[begin : begin + PIECE_FRAMES]
    return np.resize(middle - middle.mean(axis=0), (PIECE_FRAMES, BANKS))


@functools.cache
def _average_voice() -> Float32:
    voice: Float32 = np.load(MODELS / "average_voice.npy")
    return voice


@functools.cache
def _model() -> SmallModel:
    return SmallModel("embedding", (BATCH, PIECE_FRAMES, BANKS))
