"""When to believe what was generated: Whisper's rules on silence, repetition and low confidence.

Rules and thresholds are those of openai/whisper's ``transcribe`` and faster-whisper's ``generate_with_fallback``.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NO_SPEECH_THRESHOLD: Final = 0.6
LOGPROB_THRESHOLD: Final = -1.0
COMPRESSION_RATIO_THRESHOLD: Final = 2.4


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one generation gave for one window.

    Attributes:
        text: without surrounding white space.
        tokens: text token ids.
        avg_logprob: mean log probability a token, ``<|endoftext|>`` included; 0.0 where there is no token.
        no_speech_prob: of ``<|nospeech|>`` at the start of the transcript.
        temperature: that it was generated with.
    """

    text: str
    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float
    temperature: float

    @property
    def compression_ratio(self) -> float:
        """UTF-8 length of the text over its zlib length; 0.0 for no text."""
        data = self.text.encode()
        return len(data) / len(zlib.compress(data))

    @property
    def is_silence(self) -> bool:
        """The model doubts both that anybody speaks and what it wrote."""
        return self.no_speech_prob > NO_SPEECH_THRESHOLD and self.avg_logprob < LOGPROB_THRESHOLD

    @property
    def is_repetitive(self) -> bool:
        return self.compression_ratio > COMPRESSION_RATIO_THRESHOLD

    @property
    def needs_another(self) -> bool:
        """Worth generating again at a higher temperature."""
        return not self.is_silence and (self.is_repetitive or self.avg_logprob < LOGPROB_THRESHOLD)


def best_attempt(attempts: Sequence[Attempt]) -> Attempt:
    """The last attempt if it is good; else the likeliest, preferably of those that do not repeat themselves."""
    if not attempts[-1].needs_another:
        return attempts[-1]
    fluent = [attempt for attempt in attempts if not attempt.is_repetitive]
    return max(fluent or attempts, key=lambda attempt: attempt.avg_logprob)
