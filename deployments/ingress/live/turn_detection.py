"""When somebody begins to speak and when they have ended: server VAD, made of the probabilities of the voice model.

Positions are samples at 16 kHz from the start of the session.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.voice_chunks import CHUNK

HYSTERESIS: Final = (
    0.15  # speech ends where its probability is less than the threshold by this, as in Silero's own rule
)
LEAST_THRESHOLD: Final = 0.01  # below which speech ends whatever the threshold
MIN_SPEECH: Final = 3 * CHUNK  # samples: a shorter noise is no word

PATIENT: Final = 15 * SAMPLE_RATE  # samples: in a longer turn an ever shorter pause is enough
LONGEST: Final = 28 * SAMPLE_RATE  # samples: a turn that has no pause by then is cut; the model hears 30 s
LAST_CHUNKS: Final = 12  # where it is cut: the text of the last 0.4 s is stable in no transcription yet


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """What a client takes for a turn.

    Attributes:
        threshold: probability in [0, 1] at which speech begins.
        padding_s: seconds of audio kept before speech.
        silence_s: seconds of silence that end a turn.
    """

    threshold: float = 0.5
    padding_s: float = 0.3
    silence_s: float = 0.5


class Started(NamedTuple):
    """Somebody speaks; the turn begins at ``at``, with the padding before the speech."""

    at: int


class Stopped(NamedTuple):
    """A turn has ended.

    Attributes:
        at: its end, with the silence behind it.
        speech_end: the end of the last speech in it.
        sound_end: the end of what may have been speech: behind it all is silent.
        goes_on: whether it was cut because it is too long: the next turn begins at ``at``.
    """

    at: int
    speech_end: int
    sound_end: int
    goes_on: bool = False


Turn: TypeAlias = Started | Stopped


class TurnDetector:
    """Follows one stream of probabilities.

    Attributes:
        begun: where the present turn begins; None while nobody speaks.
        speech_end: the end of the last speech in it.

    Args:
        options: what counts as a turn.
        at: where the stream begins.
        longest_s: seconds that one turn may last at most.
    """

    def __init__(self, options: TurnOptions, at: int, longest_s: float) -> None:
        self._begins = options.threshold
        self._ends = max(options.threshold - HYSTERESIS, LEAST_THRESHOLD)
        self._padding = round(options.padding_s * SAMPLE_RATE)
        self._silence = max(CHUNK, round(options.silence_s * SAMPLE_RATE))
        self._longest = min(LONGEST, round(longest_s * SAMPLE_RATE))
        self.forget(at)

    def forget(self, at: int) -> None:
        """Take no audio before ``at`` for a part of any later turn; the present one is over."""
        self.begun: int | None = None
        self.speech_end = self._sound_end = at
        self._floor = at
        self._candidate: int | None = None
        self._quiet_since: int | None = None
        self._recent: deque[tuple[float, int]] = deque(maxlen=LAST_CHUNKS)

    def earliest(self, heard: int) -> int:
        """Return where a turn may begin at the earliest that has not begun at ``heard``."""
        return max(self._floor, heard - MIN_SPEECH - self._padding)

    def hear(self, at: int, probability: float) -> Turn | None:
        """Return what the chunk of 512 samples that begins at ``at`` changes; None if it changes nothing."""
        if self.begun is None:
            return self._hear_before_speech(at, probability)
        return self._hear_speech(self.begun, at, probability)

    def _hear_before_speech(self, at: int, probability: float) -> Started | None:
        if probability < self._ends or at + CHUNK <= self._floor:
            self._candidate = None
        elif probability >= self._begins and self._candidate is None:
            self._candidate = at
        if self._candidate is None or at + CHUNK - self._candidate < MIN_SPEECH:
            return None
        self.begun = max(self._candidate - self._padding, self._floor)
        self.speech_end = self._sound_end = at + CHUNK
        self._quiet_since = None
        return Started(self.begun)

    def _hear_speech(self, begun: int, at: int, probability: float) -> Stopped | None:
        end = at + CHUNK
        self._recent.append((probability, -end))
        if probability >= self._ends:
            self._sound_end = end
        if probability >= self._begins:
            self._quiet_since = None
        elif probability < self._ends and self._quiet_since is None:
            self._quiet_since = at
        if self._quiet_since is None:
            self.speech_end = end
        elif end - self._quiet_since >= self._enough_silence(end - begun):
            return self._stop(end)
        return self._cut() if end + CHUNK - begun > self._longest else None

    def _enough_silence(self, length: int) -> int:
        """Return the samples of silence that end a turn of this length: ever fewer as it grows."""
        patient = min(PATIENT, self._longest // 2)
        left = (self._longest - length) / (self._longest - patient)
        return max(CHUNK, round(self._silence * min(1.0, left)))

    def _stop(self, end: int) -> Stopped:
        stopped = Stopped(end, self.speech_end, self._sound_end)
        self.forget(end)
        return stopped

    def _cut(self) -> Stopped:
        """End the turn at the quietest of the last places, the latest of several; what follows is the next turn."""
        end = -min(self._recent)[1]
        stopped = Stopped(end, min(self.speech_end, end), min(self._sound_end, end), goes_on=True)
        self.begun = self._floor = end
        return stopped
