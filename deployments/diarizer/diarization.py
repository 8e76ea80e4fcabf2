"""Who speaks when in a whole recording: listens chunk by chunk, then compares what it heard.

Memory: the chunks at hand, and of the whole recording a few bytes per frame and one embedding per two seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from deployments.diarizer.clustering import Voices, find_voices
from deployments.diarizer.pieces import Piece, cut
from deployments.diarizer.segmentation import BATCH, CHUNK, FRAME_STEP, Active, chunk_starts, segment
from deployments.diarizer.turns import find_turns
from deployments.diarizer.voices import Float32, embed
from deployments.shared.contracts import Turn
from deployments.shared.frames import SAMPLE_RATE

Progressed = Callable[[], None]
"""Called after each step; what it raises ends the work."""


@dataclass(frozen=True, slots=True)
class Diarization:
    """Who speaks when.

    Attributes:
        turns: in order; speakers are numbered in the order in which they begin to speak.
        voices: ``[n_speakers, dimensions]``, the embedding of each speaker, of length 1.
        levels_db: how loud each speaker is, in decibels below full scale: the median over the pieces of speech.
    """

    turns: list[Turn]
    voices: Float32
    levels_db: list[float]

    def renumbered(self, number: list[int], kept: NDArray[np.int64]) -> Diarization:
        """Return the diarization in which each speaker has the number given for it.

        Args:
            number: the new number of each speaker; two who are one have the same.
            kept: which of the speakers stands for each new number.
        """
        turns = [replace(turn, speaker=number[turn.speaker]) for turn in self.turns]
        return Diarization(turns, self.voices[kept], [self.levels_db[speaker] for speaker in kept])


@dataclass(slots=True)
class _Heard:
    """What was heard of a recording so far."""

    chunks: list[Active] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    embeddings: list[Float32] = field(default_factory=list)

    def hear(self, chunks: list[NDArray[np.int16]]) -> None:
        features = []
        for pcm, active in zip(chunks, segment(chunks), strict=True):
            for piece, banks in cut(len(self.chunks), active, pcm):
                self.pieces.append(piece)
                features.append(banks)
            self.chunks.append(active)
        self.embeddings.append(embed(features))


def diarize(
    pcm: NDArray[np.int16], fewest: int | None, most: int | None, progressed: Progressed = lambda: None
) -> Diarization:
    """Return who speaks when.

    Args:
        pcm: ``[n_samples]``, 16 kHz mono; it is read piece by piece.
        fewest, most: speakers that there are, if somebody knows.
    """
    starts, heard = chunk_starts(len(pcm)), _Heard()
    for first in range(0, len(starts), BATCH):
        begins = [start * FRAME_STEP for start in starts[first : first + BATCH]]
        heard.hear([pcm[begin : begin + CHUNK] for begin in begins])
        progressed()
    embeddings = np.concatenate(heard.embeddings)
    if not heard.pieces:
        return Diarization([], embeddings, [])
    voices = find_voices(heard.pieces, embeddings, fewest, most)
    progressed()
    seconds, is_known = len(pcm) / SAMPLE_RATE, fewest is not None
    turns = find_turns(starts, heard.chunks, heard.pieces, voices.labels, seconds, each_speaks=is_known)
    levels_db = np.array([piece.level_db for piece in heard.pieces])
    return _in_order(turns, voices, levels_db)


def _in_order(turns: list[Turn], voices: Voices, levels_db: NDArray[np.float64]) -> Diarization:
    """Return the diarization with its speakers numbered as they begin to speak; who never does is left out."""
    speakers = list(dict.fromkeys(turn.speaker for turn in turns))
    number = {speaker: index for index, speaker in enumerate(speakers)}
    return Diarization(
        [replace(turn, speaker=number[turn.speaker]) for turn in turns],
        voices.centres[speakers],
        [float(np.median(levels_db[voices.labels == speaker])) for speaker in speakers],
    )
