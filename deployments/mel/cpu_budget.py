"""The CPU time that an upload may take, opened or decoded: a small file may hold very many tiny pieces."""

from __future__ import annotations

import io
import time
from typing import BinaryIO, Final, cast

from deployments.shared.errors import AudioTooSlowError

TOO_SLOW: Final = "The audio takes too long to decode. Split it, or export it as mono with 16000 Hz."
CPU_PER_SECOND: Final = 0.05
"""CPU seconds that decoding may take per second of audio. An mp3 needs a hundredth of that, eight channels at 96 kHz a
third."""


class CpuBudget:
    """What the calling thread may spend on one upload, from now on.

    Args:
        most_s: CPU seconds beyond what the length of the audio explains.

    Attributes:
        audio_s: seconds of audio decoded until now.
    """

    def __init__(self, most_s: float) -> None:
        self.audio_s = 0.0
        self._most_s = most_s
        self._began_s = time.thread_time()

    def check(self) -> None:
        """Refuse an upload that has taken too much.

        Raises:
            AudioTooSlowError: it has.
        """
        if time.thread_time() - self._began_s > self._most_s + CPU_PER_SECOND * self.audio_s:
            raise AudioTooSlowError(TOO_SLOW, param="file")


def within(budget: CpuBudget, source: BinaryIO) -> BinaryIO:
    """Return ``source``, of which nothing can be read any more once the budget is spent."""
    return cast("BinaryIO", _Budgeted(budget, source))


class _Budgeted:
    def __init__(self, budget: CpuBudget, source: BinaryIO) -> None:
        self._budget = budget
        self._source = source
        self._has_ended = False

    def read(self, size: int = -1) -> bytes:
        if self._has_ended:  # FFmpeg asks again, and PyAV would print a second error
            return b""
        self._has_ended = True
        self._budget.check()
        self._has_ended = False
        return self._source.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()
