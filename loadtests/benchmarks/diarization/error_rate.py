"""Diarization error rate: seconds in which the wrong number of speakers, or the wrong ones, are said to speak.

As NIST's Rich Transcription evaluations (RT-09) define it. The time is cut where any turn begins or ends, so there is
no grid whose step matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from loadtests.benchmarks.diarization.timeline import Spoken, speakers_of

COLLAR_S: Final = 0.25
"""Seconds before and after each edge of the reference that are not judged, where a collar is asked for: the people who
write references down agree no better."""

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class SpeakerErrors:
    """What is wrong in one recording, in seconds; two speakers at once count twice.

    Attributes:
        spoken_s: what the reference has.
        missed_s: spoken, and not found.
        false_s: found, and not spoken.
        confused_s: found, and given to another speaker.
    """

    spoken_s: float
    missed_s: float
    false_s: float
    confused_s: float

    @property
    def wrong_s(self) -> float:
        return self.missed_s + self.false_s + self.confused_s

    @property
    def rate(self) -> float:
        """Wrong seconds per spoken second; infinite where nothing is spoken and something was found."""
        if self.spoken_s:
            return self.wrong_s / self.spoken_s
        return float("inf") if self.wrong_s else 0.0


def speaker_errors(spoken: Sequence[Spoken], found: Sequence[Spoken], collar_s: float = 0.0) -> SpeakerErrors:
    """Compare who was found with who speaks, under the names that fit best.

    Args:
        collar_s: seconds on both sides of each edge of ``spoken`` that are not judged.
    """
    middles, seconds = _stretches(spoken, found, collar_s)
    real, said = _activity(spoken, middles), _activity(found, middles)
    together = _together(real, said, seconds)
    right_s = float(together[linear_sum_assignment(-together)].sum())
    n_real, n_said = real.sum(axis=0), said.sum(axis=0)
    return SpeakerErrors(
        spoken_s=float((n_real * seconds).sum()),
        missed_s=float((np.maximum(n_real - n_said, 0) * seconds).sum()),
        false_s=float((np.maximum(n_said - n_real, 0) * seconds).sum()),
        confused_s=max(0.0, float((np.minimum(n_real, n_said) * seconds).sum()) - right_s),
    )


def best_names(spoken: Sequence[Spoken], found: Sequence[Spoken]) -> dict[str, str]:
    """Return speaker that was found -> the real one that it fits best, each at most once; who fits none is left out."""
    middles, seconds = _stretches(spoken, found, 0.0)
    together = _together(_activity(spoken, middles), _activity(found, middles), seconds)
    real, said = speakers_of(spoken), speakers_of(found)
    pairs = zip(*linear_sum_assignment(-together), strict=True)
    return {said[other]: real[one] for one, other in pairs if together[one, other] > 0}


def _stretches(spoken: Sequence[Spoken], found: Sequence[Spoken], collar_s: float) -> tuple[Float64, Float64]:
    """Return the middle of each stretch in which nobody begins or ends, and how many seconds of it are judged."""
    edges = np.array([edge for turn in spoken for edge in (turn.start_s, turn.end_s)])
    ends = np.array([edge for turn in found for edge in (turn.start_s, turn.end_s)])
    cuts = np.unique(np.concatenate((edges, edges - collar_s, edges + collar_s, ends)))
    middles = (cuts[:-1] + cuts[1:]) / 2
    return middles, np.where(_is_near(middles, edges, collar_s), 0.0, np.diff(cuts))


def _together(real: Bool, said: Bool, seconds: Float64) -> Float64:
    """Return for how many seconds each real speaker and each found one speak at once."""
    return np.asarray((real.astype(np.float64) * seconds) @ said.T.astype(np.float64), np.float64)


def _is_near(middles: Float64, edges: Float64, collar_s: float) -> Bool:
    return np.asarray((np.abs(middles[:, None] - edges[None]) < collar_s).any(axis=1), np.bool_)


def _activity(turns: Sequence[Spoken], middles: Float64) -> Bool:
    """Return who speaks in each stretch: ``[n_speakers, n_stretches]``."""
    speakers = speakers_of(turns)
    active = np.zeros((len(speakers), len(middles)), np.bool_)
    for turn in turns:
        active[speakers.index(turn.speaker), (middles > turn.start_s) & (middles < turn.end_s)] = True
    return active
