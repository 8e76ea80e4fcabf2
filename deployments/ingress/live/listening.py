"""What is heard of a session's audio: it goes through the voice model as it comes, and turns come out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deployments.ingress.live.timeline import Timeline
from deployments.ingress.live.turn_detection import Turn, TurnDetector, TurnOptions
from deployments.ingress.live.voice import STEP, VoiceThreads
from deployments.shared.voice_chunks import CHUNK

if TYPE_CHECKING:
    from deployments.shared.voice_model import StreamState


class Listener:
    """Hears a timeline from its present end on.

    Args:
        voice: the threads that hear.
        timeline: must keep what was not heard yet.
        options: what counts as a turn.
        longest_s: seconds that one turn may last at most.
    """

    def __init__(self, voice: VoiceThreads, timeline: Timeline, options: TurnOptions, longest_s: float) -> None:
        self.detector = TurnDetector(options, timeline.end, longest_s)
        self.heard = timeline.end
        self._voice = voice
        self._timeline = timeline
        self._state: StreamState | None = None

    async def turns(self) -> list[Turn]:
        """Hear what has come since the last call, but for less than a batch; return the turns that begin and end."""
        begun = self.heard
        length = (self._timeline.end - begun) // STEP * STEP
        if not length:
            return []
        samples = np.frombuffer(self._timeline.between(begun, begun + length), np.int16)
        probabilities, self._state = await self._voice.hear(samples, self._state)
        self.heard = begun + length
        found = (self.detector.hear(begun + index * CHUNK, each) for index, each in enumerate(probabilities))
        return [turn for turn in found if turn is not None]
