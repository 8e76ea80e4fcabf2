"""Cuts what the speakers of one chunk say into pieces of about two seconds: what an embedding is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deployments.diarizer.filter_banks import HOP, filter_banks
from deployments.diarizer.segmentation import FRAME_S, FRAME_STEP, SPEAKERS, Active
from deployments.diarizer.voices import Float32

LONGEST_S: Final = 2.0
SLACK: Final = 0.25
"""Parts of ``LONGEST_S`` by which a piece may be longer rather than be cut in two."""

JOINED_S: Final = 0.3
"""A pause that does not end a piece, if nobody else speaks in it."""

LEAST_CLEAN_S: Final = 0.3
"""Seconds of one speaker alone without which a piece is taken as it is, with whoever speaks too."""

LEAST_FEATURES: Final = 8


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of speech by one of the speakers of a chunk.

    Attributes:
        chunk: number of the chunk.
        speaker: which of the chunk's speakers.
        begin, end: frames of the chunk, the latter exclusive.
        clean_s: seconds in which nobody else speaks.
        level_db: mean power of the speech, in decibels below full scale.
    """

    chunk: int
    speaker: int
    begin: int
    end: int
    clean_s: float
    level_db: float


def cut(chunk: int, active: Active, pcm: NDArray[np.int16]) -> Iterator[tuple[Piece, Float32]]:
    """Yield the pieces of a chunk, and the filter banks of each."""
    if not active.any():
        return
    banks = filter_banks(pcm)
    alone = active.sum(axis=1) == 1
    for speaker in range(SPEAKERS):
        for begin, end in _stretches(active, speaker):
            count = max(1, int(np.ceil((end - begin) * FRAME_S / LONGEST_S - SLACK)))
            for first, last in _parts(begin, end, count):
                clean = active[first:last, speaker] & alone[first:last]
                features = _features(banks, first, last, active[first:last, speaker], clean)
                if len(features) >= LEAST_FEATURES:
                    level = _level_db(pcm[first * FRAME_STEP : last * FRAME_STEP])
                    yield Piece(chunk, speaker, first, last, float(clean.sum() * FRAME_S), level), features


def runs(active: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the stretches in which an array is true: first index, and the index behind the last one."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], active, [False])).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def _stretches(active: Active, speaker: int) -> list[tuple[int, int]]:
    """Return where a speaker speaks; a short pause in which nobody does ends nothing."""
    joined: list[tuple[int, int]] = []
    for begin, end in runs(active[:, speaker]):
        if joined and (begin - joined[-1][1]) * FRAME_S < JOINED_S and not active[joined[-1][1] : begin].any():
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _parts(begin: int, end: int, count: int) -> Iterator[tuple[int, int]]:
    edges = np.linspace(begin, end, count + 1).round().astype(int)
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def _features(banks: Float32, first: int, last: int, speaks: NDArray[np.bool_], clean: NDArray[np.bool_]) -> Float32:
    """Return the filter banks in which the speaker is alone; where that is too little, those in which it speaks."""
    wanted = clean if clean.sum() * FRAME_S >= LEAST_CLEAN_S else speaks
    moments = np.arange(first * FRAME_STEP // HOP, min(last * FRAME_STEP // HOP, len(banks)))
    frames = np.clip(moments * HOP // FRAME_STEP, first, last - 1) - first
    chosen: Float32 = banks[moments[wanted[frames]]]
    return chosen


def _level_db(pcm: NDArray[np.int16]) -> float:
    if not len(pcm):
        return -100.0
    power = float(np.mean((pcm.astype(np.float32) / 32768) ** 2))
    return 10 * float(np.log10(power + 1e-10))
