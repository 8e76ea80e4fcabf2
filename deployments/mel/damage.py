"""What of a recording could not be read: noticed while frames are decoded, and told to the client in whole sentences.

FFmpeg passes over most damage in silence. Here no audio goes missing unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet

from deployments.mel.byte_clock import LONGEST_TAG_NAME, TAGS, ByteClock
from deployments.mel.timeline import Timeline
from deployments.shared.errors import InvalidAudioError

NOT_NUMBERS = "The audio holds samples that are not numbers. Export it again."

FEW: Final = 2
"""So many bad packets at the end are the remains of a frame that was cut, or a tag."""

MOST_PLACES: Final = 5
"""Places that are named in one sentence."""

NEAR_S: Final = 1.0


@dataclass(slots=True)
class Damage:
    """Damage, in seconds from the start of the recording.

    Attributes:
        places: where something could not be decoded, though sound follows.
        cut_at: where the sound ends although there was more; None where it ends as it should.
        declared_s: length of the whole recording, where ``cut_at`` is not None and the file says it.
    """

    places: list[float] = field(default_factory=list)
    cut_at: float | None = None
    declared_s: float | None = None

    def cut(self, at_s: float, declared_s: float | None = None) -> None:
        """Note that the sound ends too early."""
        self.cut_at, self.declared_s = at_s, declared_s

    def sentences(self, holes: list[tuple[float, float]]) -> tuple[str, ...]:
        """Return what to tell the client.

        Args:
            holes: where the recording's clock shows that nothing was recorded, or that something was lost.
        """
        found = []
        if holes:
            places = _list([f"from {start_s:.1f} to {end_s:.1f} s" for start_s, end_s in holes])
            found.append(f"There is no sound {places}: silence stands in its place.")
        alone = [at_s for at_s in self.places if not any(a - NEAR_S <= at_s <= b + NEAR_S for a, b in holes)]
        if alone:
            found.append(f"A moment of sound is damaged {_list([f'near {at_s:.1f} s' for at_s in alone])}.")
        if self.cut_at is not None:
            found.append(cut_off(self.cut_at, self.declared_s))
        return tuple(found)


def cut_off(at_s: float, declared_s: float | None) -> str:
    """Return what to tell of a file that ends too early, in one sentence; ``declared_s`` if it says how long it is."""
    of = "" if declared_s is None else f" of {declared_s:.1f} s"
    return f"The file is cut off or damaged: its sound ends at {at_s:.1f} s{of}."


def decoded_frames(
    packets: Iterable[Packet[AudioStream]], timeline: Timeline, damage: Damage, clock: ByteClock | None
) -> Iterator[AudioFrame]:
    """Yield the frames of a stream, and note packets that cannot be decoded.

    Args:
        clock: for a format that has none of its own.
    """
    bad: list[bytes] = []
    for packet in packets:
        try:
            frames = packet.decode()
        except av.FFmpegError:
            bad.append(bytes(packet)[:LONGEST_TAG_NAME])
            continue
        if frames and clock:
            timeline.lose(clock.lost_s(packet, timeline.end_s))
        if frames and timeline.end_s and any(not head.startswith(TAGS) for head in bad):
            damage.places.append(timeline.end_s)
        if frames:
            bad.clear()
        yield from frames
    if timeline.end_s and (len(bad) > FEW or any(_is_frame(head) for head in bad)):
        damage.cut(timeline.end_s)


def _is_frame(head: bytes) -> bool:
    """Return whether bytes begin as a frame of mp3 or aac does: eleven bits of 1."""
    return head[:1] == b"\xff" and head[1:2] >= b"\xe0"


def finite(frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
    """Yield frames whose samples are numbers.

    Raises:
        InvalidAudioError: a sample is infinite or not a number.
    """
    for frame in frames:
        if not np.isfinite(frame.to_ndarray()).all():
            raise InvalidAudioError(NOT_NUMBERS, param="file")
        yield frame


def _list(places: list[str]) -> str:
    shown = ", ".join(places[:MOST_PLACES])
    more = len(places) - MOST_PLACES
    return f"{shown} and in {more} more places" if more > 0 else shown
