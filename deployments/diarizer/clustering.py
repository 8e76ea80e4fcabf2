"""Which pieces are by the same speaker, and how many speakers there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_array
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
    if len(pieces) <= BLOCK:
        apart = _distances(pieces, embeddings)
        return _chosen(embeddings, seconds, apart, _tree(apart, SAME), fewest, most)
    parts = _parts(pieces, embeddings)
    count = int(parts.max()) + 1
    largest = np.argsort(-np.bincount(parts, seconds), kind="stable")[:BLOCK]
    sizes = np.bincount(parts)[largest]
    means = (_sums(embeddings, np.ones(len(parts)), parts, count)[largest] / sizes[:, None]).astype(np.float32)
    weights = np.bincount(parts, seconds)[largest].astype(np.float64)
    group = np.full(count, -1)
    group[largest] = _chosen(unit(means), weights, _apart(means), _merged(means, sizes), fewest, most)
    return group[parts]


def _chosen(centres: Float32, weights: Float64, apart: Float64, groups: Int64, fewest: int, most: int | None) -> Int64:
    """Return the groups that are speakers, or others where those are fewer than somebody knows to be there."""
    speakers = _speakers(centres, weights, groups, fewest, most)
    if speakers.max() + 1 < min(fewest, len(centres)):
        return _split(apart, weights, min(fewest, len(centres)))
    return speakers


def _parts(pieces: list[Piece], embeddings: Float32) -> Int64:
    """Return the part that each piece of a long recording belongs to: what is surely like it nearby."""
    labels, count = np.empty(len(pieces), np.int64), 0
    for first in range(0, len(pieces), BLOCK):
        block = slice(first, first + BLOCK)
        labels[block] = count + _tree(_distances(pieces[block], embeddings[block]), SURE)
        count = int(labels[block].max()) + 1
    return labels


def _merged(means: Float32, sizes: Int64) -> Int64:
    """Return the group of each part: parts are joined as long as the pieces of two have a mean cosine of ``SAME``.

    The mean cosine of all pieces of one part with all of another is the product of their means, which are shorter than
    1. A part counts as often as it has pieces: else some mixtures of two voices would weigh as much as both.
    """
    means, sizes, groups = means.copy(), sizes.copy(), np.arange(len(means))
    likeness = means @ means.T
    np.fill_diagonal(likeness, -np.inf)
    gone = np.zeros(len(means), np.bool_)
    while likeness.max() > SAME:
        one, other = divmod(int(likeness.argmax()), len(means))
        means[one] = np.average(means[[one, other]], axis=0, weights=sizes[[one, other]])
        sizes[one] += sizes[other]
        groups[groups == other] = one
        gone[other] = True
        row = np.where(gone, -np.inf, means @ means[one])
        row[one] = -np.inf
        likeness[one], likeness[:, one] = row, row
        likeness[other], likeness[:, other] = -np.inf, -np.inf
    return np.unique(groups, return_inverse=True)[1]


def _distances(pieces: list[Piece], embeddings: Float32) -> Float64:
    """Return how far apart the pieces are; what the model says of two in one chunk counts too."""
    chunk = np.array([piece.chunk for piece in pieces])
    speaker = np.array([piece.speaker for piece in pieces])
    apart = _apart(embeddings)
    together = chunk[:, None] == chunk[None]
    same = speaker[:, None] == speaker[None]
    apart[together & same] -= TIED
    apart[together & ~same] += TIED
    np.fill_diagonal(apart, 0.0)
    return np.clip(apart, 0.0, 2.0)


def _apart(rows: Float32) -> Float64:
    apart: Float64 = 1.0 - (rows @ rows.T).astype(np.float64)
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
    sums = _sums(centres, weights, groups, len(seconds))
    wholes = np.zeros_like(sums)
    kept: list[list[int]] = []
    doubtful: list[tuple[float, int]] = []
    for group in np.argsort(-seconds, kind="stable").tolist():
        nearest, likeness = _most_alike(wholes[: len(kept)], sums[group])
        is_full = most is not None and len(kept) >= most
        if likeness > SAME_CENTRE or (is_full and likeness > UNLIKE):
            kept[nearest].append(group)
            wholes[nearest] += sums[group]
        elif is_full or (seconds[group] < small_s and likeness > UNLIKE):
            doubtful.append((likeness, group))
        else:
            wholes[len(kept)] = sums[group]
            kept.append([group])
    missing = max(0, fewest - len(kept))
    kept += [[group] for _, group in sorted(doubtful)[:missing] if seconds[group] >= LEAST_S]
    speaker = np.full(len(seconds), -1)
    for number, members in enumerate(kept):
        speaker[members] = number
    return speaker[groups]


def _most_alike(wholes: Float32, own: Float32) -> tuple[int, float]:
    """Return which of the speakers so far a group is most like, and how much; where there is none, not at all."""
    if not len(wholes):
        return 0, -1.0
    likeness = unit(wholes) @ unit(own)
    nearest = int(np.argmax(likeness))
    return nearest, float(likeness[nearest])


def _sums(embeddings: Float32, weights: Float64, groups: Int64, count: int) -> Float32:
    """Return the weighted sum over each group, ``[count, dimensions]``; what belongs to none is left out."""
    known = np.flatnonzero(groups >= 0)
    membership = csr_array((weights[known], (groups[known], known)), shape=(count, len(groups)))
    return np.asarray(membership @ embeddings, np.float32)


def _refined(embeddings: Float32, seconds: Float64, groups: Int64) -> Float32:
    """Return the centres after each piece has gone to the nearest one, some times over."""
    count = int(groups.max()) + 1
    centres = unit(_sums(embeddings, seconds, groups, count))
    for _ in range(REFINEMENTS):
        nearest = (embeddings @ centres.T).argmax(axis=1)
        present = np.unique(nearest)
        centres[present] = unit(_sums(embeddings, seconds, nearest, count))[present]
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
