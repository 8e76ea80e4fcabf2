"""The time that was lost in a file without a clock: FFmpeg counts the packets that it finds, and knows no others.

What stands between two good packets was sound too, at the mean bit rate of the recording, unless it is a tag.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from av.audio.stream import AudioStream
from av.packet import Packet

CLOCKLESS: Final = frozenset({"mp3", "aac", "loas", "ac3", "eac3", "amr"})
"""FFmpeg's names of formats whose packets carry no time."""

TAGS: Final = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
"""What stands between the frames of joined files, and behind the last one."""

LONGEST_TAG_NAME: Final = max(map(len, TAGS))


class ByteClock:
    """Measures what was lost in bytes.

    Args:
        source: the file, which FFmpeg reads too.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._good_bytes = 0
        self._good_end: int | None = None

    def lost_s(self, packet: Packet[AudioStream], end_s: float) -> float:
        """Return the seconds that were lost between the last good packet and this one, which is good.

        Args:
            packet: one that gave sound.
            end_s: seconds of sound until now.
        """
        if packet.pos is None:
            return 0.0
        before, self._good_end = self._good_end, packet.pos + packet.size
        lost = 0 if before is None or self._is_tag(before) else packet.pos - before
        seconds = lost * end_s / self._good_bytes if self._good_bytes and lost > 0 else 0.0
        self._good_bytes += packet.size
        return seconds

    def _is_tag(self, position: int) -> bool:
        came_from = self._source.tell()
        self._source.seek(position)
        head = self._source.read(LONGEST_TAG_NAME)
        self._source.seek(came_from)
        return head.startswith(TAGS)
