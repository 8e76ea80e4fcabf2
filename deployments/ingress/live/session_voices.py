"""Who speaks in a session: each utterance has speakers of its own, and these are told apart over all of them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from deployments.ingress.transcript.speakers import Speakers, letters

ALIKE: Final = 0.3
"""Cosine from which the voice of an utterance is one that was heard before.

Of 2 s of speech and more, voices of one person are alike by 0.4 in 95 of 100 pairs, those of two by 0.25: among three
people 1 to 3% of the utterances get a wrong label then; of 1 s, 7%.
"""


class SessionVoices:
    """The strangers of one session, each with a capital letter in the order in which they are first told."""

    def __init__(self) -> None:
        self._voices: dict[str, NDArray[np.float64]] = {}

    def labels(self, speakers: Speakers) -> dict[str, str]:
        """Return the session's label for each label of an utterance: names stay as they are.

        Two speakers of one utterance are two in the session. The likest pairs come first.
        """
        found = {label: label for label in speakers.labels if label in speakers.names}
        strangers = {label: np.array(speakers.embeddings[label]) for label in speakers.labels if label not in found}
        pairs = [
            (float(embedding @ voice / np.linalg.norm(voice)), label, known)
            for label, embedding in strangers.items()
            for known, voice in self._voices.items()
        ]
        for alike, label, known in sorted(pairs, reverse=True):
            if alike >= ALIKE and label not in found and known not in found.values():
                found[label] = known
        new = letters(self._voices.keys() | speakers.names)
        for label, embedding in strangers.items():
            if label not in found:
                found[label] = next(new)
            self._voices[found[label]] = self._voices.get(found[label], 0.0) + embedding
        return found
