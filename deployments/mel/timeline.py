"""Decoded frames in the time of the recording: where its clock says that nothing was recorded, there is silence.

A track may begin later than the video beside it, packets get lost on their way to a recorder, and voice chats send
nothing while nobody speaks. Frames that are merely joined would put all words behind too early.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

SHORTEST_HOLE_S = 0.1
"""Clocks of live recordings jump by less; what is missing is made up for once it has come to so much."""

BACKWARDS_S = 1.0
"""A clock that goes back further begins anew: the next recording of several in one file."""

DISCONTINUOUS = frozenset({"mpegts", "mpeg"})
LONGEST_HOLE_S = 10.0
"""In television the clock jumps where programmes meet: FFmpeg's ``dts_delta_threshold``."""


@dataclass(slots=True)
class Timeline:
    """Where the next frame belongs.

    Attributes:
        origin_s: what the track's clock says at the start of the recording.
        longest_hole_s: a clock that jumps further was set, and nothing is missing.
        end_s: end of what was placed, in seconds from the start of the recording.
        holes: start and end of the stretches between two frames in which nothing was recorded.
    """

    origin_s: float
    longest_hole_s: float
    end_s: float = 0.0
    holes: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def of(cls, container: InputContainer, longest_s: float) -> Timeline:
        """Return the timeline of a file of at most ``longest_s`` seconds, which begins with its first track."""
        is_discontinuous = container.format.name in DISCONTINUOUS
        origin_s = (container.start_time or 0) / av.time_base
        return cls(origin_s, LONGEST_HOLE_S if is_discontinuous else longest_s)

    def hole_before(self, start_s: float | None) -> float:
        """Return the seconds in which nothing was recorded before a frame, 0 where there is no hole.

        Args:
            start_s: what the track's clock says at the frame's start; None where it does not say.
        """
        if start_s is None:
            return 0.0
        hole_s = start_s - self.origin_s - self.end_s
        if hole_s < -BACKWARDS_S or hole_s > self.longest_hole_s:
            self.origin_s += hole_s
            return 0.0
        return hole_s if hole_s >= SHORTEST_HOLE_S else 0.0

    def lose(self, seconds: float) -> None:
        """Note that so much was lost before the next frame, of which the track's clock knows nothing."""
        self.origin_s -= seconds

    def place(self, frames: Iterable[AudioFrame], stream: AudioStream) -> Iterator[AudioFrame]:
        """Yield the frames, with frames of silence where the recording has a hole."""
        tick_s = float(stream.time_base or 0)
        first_rate = 0
        for frame in frames:
            # Some clocks count samples: they are wrong behind a change of the rate.
            is_clocked = frame.sample_rate == (first_rate or frame.sample_rate)
            start_s = frame.pts * tick_s if is_clocked and frame.pts is not None else None
            hole_s = self.hole_before(start_s)
            if hole_s:
                if first_rate:
                    self.holes.append((self.end_s, self.end_s + hole_s))
                yield from _silence(frame, hole_s)
                self.end_s += hole_s
            yield frame
            self.end_s += frame.samples / frame.sample_rate
            first_rate = first_rate or frame.sample_rate


def _silence(like: AudioFrame, seconds: float) -> Iterator[AudioFrame]:
    """Yield frames of at most a second, of the format of another frame."""
    rate = like.sample_rate
    zero = b"\x80" if like.format.name.startswith("u8") else b"\0"
    left = round(seconds * rate)
    while left > 0:
        samples = min(left, rate)
        silence = AudioFrame(format=like.format.name, layout=like.layout.name, samples=samples)
        silence.sample_rate = rate
        for plane in silence.planes:
            plane.update(zero * plane.buffer_size)
        yield silence
        left -= samples
