"""Which pieces are by the same speaker, and how many speakers there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from deployments.diarizer.pieces import Piece
from deployments.diarizer.voices import Float32, unit

SAME: Final = 0.3
"""Mean cosine of the pieces of one speaker. It tells the readers of 28 constructed dialogues apart, as all from 0.30 to
0.40 do."""

SURE: Final = 0.5
"""Mean cosine at which pieces that lie together are taken for one before all are compared, in a long recording."""

SAME_CENTRE: Final = 0.5
"""Cosine of two groups, as wholes, that are one speaker after all."""

SMALL_S: Final = 10.0
"""Seconds of speech below which a group has to be unlike the others: mixtures of two voices lie between them."""

SMALL_SHARE: Final = 0.01
"""The same, as a part of all speech: in an hour there are more mixtures."""

UNLIKE: Final = 0.25
"""Cosine up to which a small group is a speaker of its own."""

CLEAN_S: Final = 1.4
"""Seconds of one voice alone that make an embedding good enough to find speakers with."""

CLEAN_QUANTILE: Final = 0.7
"""Where all turns are short, this share of the pieces is left out."""

TIED: Final = 0.3
"""Cosine that it is worth that the model took two pieces of a chunk for one speaker, or for two."""

BLOCK: Final = 1000
"""Pieces that are compared each with each: memory grows with the square."""

LEAST_S: Final = 1.0
"""Seconds of speech that each speaker has of those whom somebody knows to be there, where so many have."""

REFINEMENTS: Final = 3


Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Voices:
    """The speakers of a recording.

    Attributes:
        labels: ``[n_pieces]``, the speaker of each piece.
        centres: ``[n_speakers, dimensions]``, the embedding of each speaker.
    """

    labels: Int64
    centres: Float32


def find_voices(pieces: list[Piece], embeddings: Float32, fewest: int | None, most: int | None) -> Voices:
    """Group pieces by their speakers.

    Args:
        pieces: at least one.
        embeddings: ``[n_pieces, dimensions]``, of length 1.
        fewest, most: speakers that there are, if somebody knows; there are never more than pieces.
    """
    clean = np.array([piece.clean_s for piece in pieces])
    good = np.flatnonzero(clean >= min(CLEAN_S, float(np.quantile(clean, CLEAN_QUANTILE))))
    if fewest is not None and len(good) < fewest:
        good = np.arange(len(pieces))
    seconds = np.maximum(clean[good], 1e-3)
    groups = _groups([pieces[i] for i in good], embeddings[good], seconds, fewest or 1, most)
    centres = _refined(embeddings[good], seconds, groups)
    labels = _nearest(pieces, embeddings, clean, centres)
    labels[good[groups >= 0]] = groups[groups >= 0]
    return Voices(labels, centres)


def _groups(pieces: list[Piece], embeddings: Float32, seconds: Float64, fewest: int, most: int | None) -> Int64:
    """Return the group of each good piece; -1 for one that belongs to none."""
    parts = _parts(pieces, embeddings)
    centres, weights = _centres(embeddings, seconds, parts), np.bincount(parts, seconds).astype(np.float64)
    apart = _distances(pieces, embeddings) if len(centres) == len(pieces) else _angles(centres)
    groups = _speakers(centres, weights, _tree(apart, SAME), fewest, most)
    if groups.max() + 1 < min(fewest, len(centres)):
        groups = _split(apart, weights, min(fewest, len(centres)))
    return groups[parts]


def _parts(pieces: list[Piece], embeddings: Float32) -> Int64:
    """Return the part that each piece belongs to: itself, or in a long recording what is surely like it nearby."""
    if len(pieces) <= BLOCK:
        return np.arange(len(pieces))
    labels, count = np.empty(len(pieces), np.int64), 0
    for first in range(0, len(pieces), BLOCK):
        block = slice(first, first + BLOCK)
        labels[block] = count + _tree(_distances(pieces[block], embeddings[block]), SURE)
        count = int(labels[block].max()) + 1
    return labels


def _distances(pieces: list[Piece], embeddings: Float32) -> Float64:
    """Return how far apart the pieces are; what the model says of two in one chunk counts too."""
    chunk = np.array([piece.chunk for piece in pieces])
    speaker = np.array([piece.speaker for piece in pieces])
    apart = _angles(embeddings)
    together = chunk[:, None] == chunk[None]
    same = speaker[:, None] == speaker[None]
    apart[together & same] -= TIED
    apart[together & ~same] += TIED
    np.fill_diagonal(apart, 0.0)
    return np.clip(apart, 0.0, 2.0)


def _angles(embeddings: Float32) -> Float64:
    apart: Float64 = 1.0 - (embeddings @ embeddings.T).astype(np.float64)
    np.fill_diagonal(apart, 0.0)
    return np.clip(apart, 0.0, 2.0)


def _tree(apart: Float64, same: float) -> Int64:
    if len(apart) == 1:
        return np.zeros(1, np.int64)
    tree = linkage(squareform(apart, checks=False), "average")
    return np.asarray(fcluster(tree, 1.0 - same, "distance"), np.int64) - 1


def _split(apart: Float64, weights: Float64, count: int) -> Int64:
    """Return ``count`` groups, the largest of the fewest that hold so many of some size; the others are nobody's.

    What a tree is cut into first may be a single odd piece.
    """
    tree = linkage(squareform(apart, checks=False), "average")
    for number in range(count, len(apart) + 1):
        groups = np.asarray(fcluster(tree, number, "maxclust"), np.int64) - 1
        seconds = np.bincount(groups, weights)
        if (seconds >= LEAST_S).sum() >= count:
            break
    speaker = np.full(len(seconds), -1)
    largest = np.argsort(-seconds, kind="stable")[:count]
    speaker[largest] = np.arange(len(largest))
    return speaker[groups]


def _speakers(centres: Float32, weights: Float64, groups: Int64, fewest: int, most: int | None) -> Int64:
    """Return the groups that are speakers, numbered; what is left over belongs to none.

    From the longest to the shortest, each group is one of those before it, or a speaker, or nobody's: too short, and
    too much like another one. Where there are too few speakers then, those are taken that are least like any.
    """
    seconds = np.bincount(groups, weights)
    small_s = max(SMALL_S, SMALL_SHARE * float(seconds.sum()))
    kept: list[list[int]] = []
    doubtful: list[tuple[float, int]] = []
    for group in np.argsort(-seconds, kind="stable").tolist():
        nearest, likeness = _most_alike(centres, weights, groups, kept, group)
        is_full = most is not None and len(kept) >= most
        if likeness > SAME_CENTRE or (is_full and likeness > UNLIKE):
            kept[nearest].append(group)
        elif is_full or (seconds[group] < small_s and likeness > UNLIKE):
            doubtful.append((likeness, group))
        else:
            kept.append([group])
    missing = max(0, fewest - len(kept))
    kept += [[group] for _, group in sorted(doubtful)[:missing] if seconds[group] >= LEAST_S]
    speaker = np.full(len(seconds), -1)
    for number, members in enumerate(kept):
        speaker[members] = number
    return speaker[groups]


def _most_alike(
    centres: Float32, weights: Float64, groups: Int64, kept: list[list[int]], group: int
) -> tuple[int, float]:
    """Return which of the speakers so far a group is most like, and how much; where there is none, not at all."""
    if not kept:
        return 0, -1.0
    own = _centre(centres, weights, groups, [group])
    likeness = [float(_centre(centres, weights, groups, members) @ own) for members in kept]
    nearest = int(np.argmax(likeness))
    return nearest, likeness[nearest]


def _centre(embeddings: Float32, weights: Float64, groups: Int64, members: list[int]) -> Float32:
    chosen = np.isin(groups, members)
    return unit((embeddings[chosen] * weights[chosen, None]).sum(axis=0).astype(np.float32))


def _centres(embeddings: Float32, weights: Float64, groups: Int64) -> Float32:
    return np.stack([_centre(embeddings, weights, groups, [group]) for group in range(int(groups.max()) + 1)])


def _refined(embeddings: Float32, seconds: Float64, groups: Int64) -> Float32:
    """Return the centres after each piece has gone to the nearest one, some times over."""
    centres = _centres(embeddings, seconds, groups)
    for _ in range(REFINEMENTS):
        nearest = (embeddings @ centres.T).argmax(axis=1)
        for speaker in range(len(centres)):
            if (nearest == speaker).any():
                centres[speaker] = _centre(embeddings, seconds, nearest, [speaker])
    return centres


def _nearest(pieces: list[Piece], embeddings: Float32, clean: Float64, centres: Float32) -> Int64:
    """Return each piece's speaker: a short one goes with the other pieces by the same speaker of its chunk."""
    likeness = embeddings @ centres.T
    chunk = np.array([piece.chunk * 4 + piece.speaker for piece in pieces])
    _, chunk = np.unique(chunk, return_inverse=True)
    sums = np.zeros((int(chunk.max()) + 1, len(centres)))
    weights = np.maximum(clean, 1e-3)
    np.add.at(sums, chunk, likeness * weights[:, None])
    neighbours = (sums / np.bincount(chunk, weights)[:, None])[chunk]
    own = np.clip(clean / 2.0, 0.0, 1.0)[:, None]
    labels: Int64 = (own * likeness + (1 - own) * neighbours).argmax(axis=1)
    return labels
