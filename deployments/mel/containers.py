"""What a file's own headers say about its length: the ways to notice that a file was cut off.

FFmpeg reports a cut in flac. Of the others it plays what is there, so their headers are compared with the bytes here. A
live webm, and mp3, aac or fragmented mp4 cut between two frames, look whole: they declare no length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from deployments.shared.errors import InvalidAudioError
from deployments.shared.frames import SAMPLE_RATE

INCOMPLETE = "The file is cut off: it holds less audio than it declares. Upload the whole file."

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_OGG_PAGE = b"OggS"
_ID3_HEADER = struct.Struct("6x4B")
_OGG_HEADER = 27  # bytes; the last is the number of segment lengths that follow
_LONGEST_OGG_PAGE = 65_307
_MP4_BOXES = frozenset(b"ftyp styp moov moof mdat mfra sidx free skip wide uuid meta".split())
_LARGE_BOX = struct.Struct(">I4sQ")  # length, name, and the length again where the first is 1
_MAX_BOXES = 10_000  # a fragmented recording has two a fragment
_MAX_CHUNKS = 100  # before the samples of a wav file; real ones have two or three
_UNKNOWN_LENGTH = 0x7FFF_F000  # recorders that cannot seek back leave 0 or a number near the largest one
_PCM = 1
_CHUNK = struct.Struct("<4sI")  # name, length
_FORMAT = struct.Struct("<HHIIHH")  # encoding, channels, sample rate, bytes a second, bytes a frame, bits a sample


@dataclass(frozen=True, slots=True)
class WavHeader:
    """How a RIFF wave file stores its samples, and where.

    Attributes:
        encoding: format tag, 1 is PCM.
        channels: interleaved.
        sample_rate: in Hz.
        bits: of one sample.
        offset: of the first sample, in bytes.
        n_bytes: of samples in the file.
    """

    encoding: int
    channels: int
    sample_rate: int
    bits: int
    offset: int
    n_bytes: int

    @property
    def is_decoded(self) -> bool:
        """Whether the samples are already 16 kHz mono int16."""
        return (self.encoding, self.channels, self.sample_rate, self.bits) == (_PCM, 1, SAMPLE_RATE, 16)


def read_wav_header(file: BinaryIO, size: int) -> WavHeader | None:
    """Read the chunks in front of the samples; None if the file is no RIFF wave.

    Args:
        file: at any position.
        size: of the file in bytes.

    Raises:
        InvalidAudioError: less data than the header promises, or no data at all.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    encoding = channels = sample_rate = bits = 0
    for _ in range(_MAX_CHUNKS):
        chunk = file.read(_CHUNK.size)
        if len(chunk) < _CHUNK.size:
            break
        name, length = _CHUNK.unpack(chunk)
        offset = file.tell()
        if name == b"data":
            return WavHeader(encoding, channels, sample_rate, bits, offset, _data_length(length, size - offset))
        if name == b"fmt ":
            fmt = file.read(_FORMAT.size)
            if len(fmt) < _FORMAT.size:
                break
            encoding, channels, sample_rate, _, _, bits = _FORMAT.unpack(fmt)
        file.seek(offset + length + length % 2)
    raise InvalidAudioError(INCOMPLETE, param="file")


def check_complete(file: BinaryIO, size: int) -> None:
    """Refuse ogg files that end inside a page, matroska and webm ones inside the segment, mp4 ones inside a box.

    An ogg stream may legally lack its end mark (RFC 7845, section 4), so one cut between two pages passes.

    Args:
        file: at any position.
        size: of the file in bytes.

    Raises:
        InvalidAudioError: the file is cut off.
    """
    file.seek(0)
    head = file.read(4096)
    if head.startswith(_OGG_PAGE):
        file.seek(max(0, size - _LONGEST_OGG_PAGE))
        complete = _ends_with_page(file.read())
    elif head.startswith(_EBML):
        complete = _segment_end(head) <= size
    elif head[4:8] in _MP4_BOXES:
        complete = _boxes_end(file, size) <= size
    else:
        return
    if not complete:
        raise InvalidAudioError(INCOMPLETE, param="file")


def declares_mp3_frames(file: BinaryIO) -> bool:
    """Whether an mp3 file starts with a frame count (Xing or LAME), so that its duration is more than a guess."""
    file.seek(0)
    tag = file.read(_ID3_HEADER.size)
    is_tagged = len(tag) == _ID3_HEADER.size and tag.startswith(b"ID3")
    file.seek(_id3_length(tag) if is_tagged else 0)
    head = file.read(4096)
    start = max(head.find(b"Xing"), head.find(b"Info"))
    flags = int.from_bytes(head[start + 4 : start + 8])
    return start >= 0 and bool(flags & 1)


def _data_length(declared: int, present: int) -> int:
    if declared == 0 or declared >= _UNKNOWN_LENGTH:
        return present
    if declared > present:
        raise InvalidAudioError(INCOMPLETE, param="file")
    return declared


def _ends_with_page(tail: bytes) -> bool:
    """Whether the last page that starts in ``tail`` also ends there (RFC 3533, section 6)."""
    page = tail[tail.rfind(_OGG_PAGE) :]
    if len(page) < _OGG_HEADER or not page.startswith(_OGG_PAGE):
        return False
    lengths = page[_OGG_HEADER : _OGG_HEADER + page[_OGG_HEADER - 1]]
    return len(page) >= _OGG_HEADER + page[_OGG_HEADER - 1] + sum(lengths)


def _segment_end(head: bytes) -> int:
    """Where the segment of a matroska file ends; 0 if it does not say (RFC 8794, section 6)."""
    length, body = _ebml_length(head, len(_EBML))
    segment = body + length
    if not head.startswith(_SEGMENT, segment):
        return 0
    length, body = _ebml_length(head, segment + len(_SEGMENT))
    return body + length if length else 0


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last box of an mp4 file ends (ISO/IEC 14496-12, section 4.2); what is no box is not looked at."""
    end = 0
    for _ in range(_MAX_BOXES):
        if end >= size:
            break
        file.seek(end)
        head = file.read(_LARGE_BOX.size).ljust(_LARGE_BOX.size, b"\0")
        length, name, large_length = _LARGE_BOX.unpack(head)
        length = large_length if length == 1 else length
        if name not in _MP4_BOXES or not length:
            break
        end += length
    return end


def _ebml_length(head: bytes, offset: int) -> tuple[int, int]:
    """Length of an element's body, 0 if unknown, and where the body starts."""
    if offset >= len(head) or not head[offset]:
        return 0, offset
    width = 9 - head[offset].bit_length()
    mask = (1 << 7 * width) - 1
    length = int.from_bytes(head[offset : offset + width]) & mask
    return (0 if length == mask else length), offset + width


def _id3_length(tag: bytes) -> int:
    """Bytes of an ID3v2 tag with its header; its size has seven bits in each of four bytes."""
    a, b, c, d = _ID3_HEADER.unpack(tag)
    body: int = a << 21 | b << 14 | c << 7 | d
    return _ID3_HEADER.size + body
