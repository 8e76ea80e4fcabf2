"""What a Diarizer listens with: the models that come along, or a pyannote pipeline."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deployments.diarizer.diarization import Diarization, Progressed, diarize
from deployments.diarizer.voices import Float32, embed_recording


class Listener(Protocol):
    """Tells speakers apart. Thread-safe.

    Attributes:
        name: of the model, for statistics.
    """

    name: str

    def diarize(
        self, pcm: NDArray[np.int16], fewest: int | None, most: int | None, progressed: Progressed
    ) -> Diarization:
        """Return who speaks when in ``[n_samples]``, 16 kHz mono."""
        ...

    def voice(self, pcm: NDArray[np.int16]) -> Float32:
        """Return the embedding of the one voice in some seconds of audio; comparable with those of a diarization."""
        ...


class BuiltIn:
    """The models that come along."""

    name = "cpu:openvino"

    def __init__(self) -> None:
        """Load the models, so that no request waits for it."""
        self.diarize(np.zeros(1, np.int16), None, None, lambda: None)
        self.voice(np.zeros(1, np.int16))

    def diarize(
        self, pcm: NDArray[np.int16], fewest: int | None, most: int | None, progressed: Progressed
    ) -> Diarization:
        """Return who speaks when."""
        return diarize(pcm, fewest, most, progressed)

    def voice(self, pcm: NDArray[np.int16]) -> Float32:
        """Return the embedding of the one voice in some seconds of audio."""
        return embed_recording(pcm)
