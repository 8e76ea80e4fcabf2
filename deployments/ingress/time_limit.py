"""How long a request may take: what its client named, else a time that grows with the audio."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The deadline of a request, before and after the length of its audio is known.

    Attributes:
        began: when the request came, or its upload was complete where the client named no timeout, in seconds of the
            monotonic clock, which no correction of the time of day moves.
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

    def upload_deadline(self, longest_s: float) -> float:
        """Return when an upload must be complete: a slow connection has ``longest_s``, unless its client named less."""
        return self.began + (self.timeout_s if self.is_named else longest_s)

    def after_upload(self, now: float) -> TimeLimit:
        """Return the limit of a request that was read: its upload counts only where the client named the timeout."""
        return self if self.is_named else replace(self, began=now)

    def seconds(self, audio_s: float = 0.0) -> float:
        """Return how many seconds a request with ``audio_s`` seconds of audio is given."""
        return max(self.timeout_s, self.per_audio_s * audio_s)

    def deadline(self, audio_s: float = 0.0) -> float:
        """Return when a request with ``audio_s`` seconds of audio must be answered, on the same clock."""
        return self.began + self.seconds(audio_s)
