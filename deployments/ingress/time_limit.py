"""How long a request may take: what its client named, else a time that grows with the audio."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The deadline of a request, before and after the length of its audio is known.

    Attributes:
        began: when the request came, in seconds of the monotonic clock, which no correction of the time of day moves.
        timeout_s: seconds the request is given, however short its audio is.
        per_audio_s: seconds it is given per second of audio, where that is more; 0 where the client named its timeout.
    """

    began: float
    timeout_s: float
    per_audio_s: float = 0.0

    @property
    def is_named(self) -> bool:
        """The client named the timeout, so it does not grow with the audio."""
        return self.per_audio_s == 0.0

    def seconds(self, audio_s: float = 0.0) -> float:
        """Return how many seconds a request with ``audio_s`` seconds of audio is given."""
        return max(self.timeout_s, self.per_audio_s * audio_s)

    def deadline(self, audio_s: float = 0.0) -> float:
        """Return when a request with ``audio_s`` seconds of audio must be answered, on the same clock."""
        return self.began + self.seconds(audio_s)
