"""Which of the speakers are people whose voice is known."""

from __future__ import annotations

from typing import Final

import numpy as np

from deployments.diarizer.diarization import Diarization
from deployments.diarizer.voices import Float32

ALIKE: Final = 0.45
"""Cosine from which a speaker is a known one: two recordings of one person are alike by 0.7 and more, of two by 0.4."""


def named(found: Diarization, names: list[str], voices: Float32) -> tuple[Diarization, list[str | None]]:
    """Return the diarization in which the speakers that are the same known person are one, and the name of each.

    Args:
        names: of the known people.
        voices: ``[n_names, dimensions]``, the embedding of each.

    Returns:
        The diarization, and for each of its speakers the name; None for a stranger.
    """
    if not names or not found.turns:
        return found, [None] * len(found.voices)
    likeness = found.voices @ voices.T
    nearest = [names[int(row.argmax())] if row.max() >= ALIKE else None for row in likeness]
    first = {name: nearest.index(name) for name in names if name in nearest}
    kept = [speaker for speaker, name in enumerate(nearest) if name is None or first[name] == speaker]
    number = [kept.index(speaker if name is None else first[name]) for speaker, name in enumerate(nearest)]
    return found.renumbered(number, np.array(kept)), [nearest[speaker] for speaker in kept]
