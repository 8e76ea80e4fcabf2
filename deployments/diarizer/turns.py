"""From pieces with speakers to turns: who speaks from when to when."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deployments.diarizer.pieces import Piece, runs
from deployments.diarizer.segmentation import FRAME_S, FRAMES, Active
from deployments.shared.contracts import Turn

PAUSE_S: Final = 1.5
"""A pause up to this long, in which nobody else speaks, does not end a turn."""

MARGIN_S: Final = 0.15
"""A turn begins so long before its first sound, and ends so long after its last one, where nobody else speaks there."""

LEAST_S: Final = 0.5
"""Seconds that each speaker speaks of those whom somebody knows to be there."""

AT_ONCE: Final = 2
"""Speakers at the same moment, at most."""


def find_turns(
    starts: range,
    chunks: list[Active],
    pieces: list[Piece],
    labels: NDArray[np.int64],
    seconds: float,
    *,
    each_speaks: bool = False,
) -> list[Turn]:
    """Return the turns of a recording in order; those of two speakers overlap where both speak.

    Args:
        starts: frame that each chunk begins at.
        chunks: who speaks in each.
        labels: the speaker of each piece.
        seconds: length of the recording.
        each_speaks: somebody knows how many speakers there are, so that none may be outvoted everywhere.
    """
    found, labels = np.unique(labels, return_inverse=True)
    speakers = len(found)
    speaking = _speaking(starts, chunks, pieces, labels, speakers)
    if each_speaks:
        _let_each_speak(speaking, starts, pieces, labels)
    turns = [
        Turn(begin * FRAME_S, end * FRAME_S, int(found[speaker]))
        for speaker in range(speakers)
        for begin, end in _without_pauses(speaking, speaker)
    ]
    return _widened(sorted(turns, key=lambda turn: (turn.start_s, turn.end_s)), seconds)


def _speaking(
    starts: range, chunks: list[Active], pieces: list[Piece], labels: NDArray[np.int64], speakers: int
) -> NDArray[np.bool_]:
    """Return who speaks in each frame of the recording, ``[n_frames, n_speakers]``: the chunks vote.

    They vote first on how many speak, and then each for its own.
    """
    frames = starts[-1] + FRAMES
    heard, count = np.zeros(frames), np.zeros(frames)
    for start, active in zip(starts, chunks, strict=True):
        heard[start : start + FRAMES] += 1
        count[start : start + FRAMES] += active.sum(axis=1)
    votes = np.zeros((frames, speakers), np.float32)
    for piece, label in zip(pieces, labels, strict=True):
        start = starts[piece.chunk]
        votes[start + piece.begin : start + piece.end, label] += chunks[piece.chunk][
            piece.begin : piece.end, piece.speaker
        ]
    at_once = np.rint(count / heard)
    order = np.argsort(-votes, axis=1, kind="stable")
    speaking = np.zeros((frames, speakers), np.bool_)
    every = np.arange(frames)
    for rank in range(min(AT_ONCE, speakers)):
        chosen = order[:, rank]
        speaking[every, chosen] = (at_once > rank) & (votes[every, chosen] > 0)
    return speaking


def _let_each_speak(speaking: NDArray[np.bool_], starts: range, pieces: list[Piece], labels: NDArray[np.int64]) -> None:
    """Give the floor to speakers who were outvoted nearly everywhere, in the pieces that are theirs."""
    for speaker in np.flatnonzero(speaking.sum(axis=0) * FRAME_S < LEAST_S):
        for piece, label in zip(pieces, labels, strict=True):
            if label == speaker:
                begin = starts[piece.chunk] + piece.begin
                speaking[begin : begin + piece.end - piece.begin] = False
                speaking[begin : begin + piece.end - piece.begin, speaker] = True


def _without_pauses(speaking: NDArray[np.bool_], speaker: int) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begin, end in runs(speaking[:, speaker]):
        if joined and (begin - joined[-1][1]) * FRAME_S < PAUSE_S and not speaking[joined[-1][1] : begin].any():
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _widened(turns: list[Turn], seconds: float) -> list[Turn]:
    """Give each turn its margins; two turns share a gap that is too short for both."""
    ends = list(accumulate((turn.end_s for turn in turns), max, initial=0.0))
    widened = []
    for number, turn in enumerate(turns):
        before = max(0.0, turn.start_s - ends[number])
        following = next((other.start_s for other in turns[number + 1 :] if other.end_s > turn.end_s), seconds)
        after = 0.0 if ends[number] > turn.end_s else max(0.0, following - turn.end_s)
        start_s = turn.start_s - min(MARGIN_S, before / 2)
        end_s = min(seconds, turn.end_s + min(MARGIN_S, after / 2))
        widened.append(replace(turn, start_s=start_s, end_s=end_s))
    return [turn for turn in widened if turn.start_s < turn.end_s]
