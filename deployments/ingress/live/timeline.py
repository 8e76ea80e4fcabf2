"""The audio of a session that may still be needed, by its place in all that was sent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_BYTES = 2


class Timeline:
    """16 kHz mono int16; positions are samples from the start of the session.

    Attributes:
        start: of what is kept.
    """

    def __init__(self) -> None:
        self.start = 0
        self._kept = bytearray()

    @property
    def end(self) -> int:
        """The end of what was appended."""
        return self.start + len(self._kept) // SAMPLE_BYTES

    def append(self, samples: NDArray[np.int16]) -> None:
        """Add what comes next."""
        self._kept += samples.tobytes()

    def between(self, start: int, end: int) -> bytes:
        """Return the samples from ``start`` to ``end`` as bytes; both must lie in what is kept."""
        return bytes(self._kept[SAMPLE_BYTES * (start - self.start) : SAMPLE_BYTES * (end - self.start)])

    def forget_before(self, position: int) -> None:
        """Drop what lies before a position."""
        passed = min(position, self.end) - self.start
        if passed > 0:
            del self._kept[: SAMPLE_BYTES * passed]
            self.start += passed
