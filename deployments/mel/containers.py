"""What a file's own headers say about its length, so that a file that was cut off is noticed.

FFmpeg plays what is there, so the headers are compared with the bytes here. A live webm, and mp3, aac or fragmented mp4
cut between two frames, look whole: they declare no length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from deployments.shared.errors import InvalidAudioError
from deployments.shared.frames import SAMPLE_RATE

NO_SAMPLES = "This is a wav file without samples: the recording or its upload was cut off. Upload the whole file."

EBML = b"\x1a\x45\xdf\xa3"
SEGMENT = b"\x18\x53\x80\x67"
OGG_PAGE = b"OggS"
ID3_HEADER = struct.Struct("6x4B")
OGG_HEADER = 27  # bytes; the last byte is the number of segment lengths that follow
LONGEST_OGG_PAGE = 65_307
MP4_BOXES = frozenset(b"ftyp styp moov moof mdat mfra sidx free skip wide uuid meta".split())
LARGE_BOX = struct.Struct(">I4sQ")  # length, name, and the length again where the first is 1
MAX_BOXES = 10_000  # a fragmented recording has two per fragment
MAX_CHUNKS = 100  # in front of the samples of a wav file; real files have two or three
UNKNOWN_LENGTH = 1_900_000_000  # recorders that cannot seek back leave 0, or a number that no upload has
PCM = 1
CHUNK = struct.Struct("<4sI")  # name, length
FORMAT = struct.Struct("<HHIIHH")  # encoding, channels, sample rate, bytes per second, bytes per frame, bits per sample


@dataclass(frozen=True, slots=True)
class WavHeader:
    """How a RIFF wave file stores its samples, and where.

    Attributes:
        encoding: format tag; 1 is PCM.
        channels: interleaved channels.
        sample_rate: samples per second.
        bits: bits of one sample.
        offset: where the first sample begins, in bytes from the start of the file.
        n_bytes: bytes of all samples in the file.
        declared_bytes: bytes of all samples that the header promises; less where it knows no length.
    """

    encoding: int
    channels: int
    sample_rate: int
    bits: int
    offset: int
    n_bytes: int
    declared_bytes: int

    @property
    def end(self) -> int:
        """Where the samples end, in bytes from the start of the file."""
        return self.offset + self.n_bytes

    @property
    def declared_s(self) -> float | None:
        """Length that the header promises of samples that are missing; None where all are there."""
        frame_bytes = self.channels * self.bits // 8
        if self.declared_bytes - self.n_bytes < max(1, frame_bytes) or not frame_bytes * self.sample_rate:
            return None
        return self.declared_bytes / (frame_bytes * self.sample_rate)

    @property
    def is_decoded(self) -> bool:
        """Whether the samples are already 16 kHz mono int16."""
        return (self.encoding, self.channels, self.sample_rate, self.bits) == (PCM, 1, SAMPLE_RATE, 16)


def read_wav_header(file: BinaryIO, size: int) -> WavHeader | None:
    """Read the chunks in front of the samples; return None if the file is no RIFF wave.

    Args:
        file: the upload, at any position.
        size: size of the file in bytes.

    Raises:
        InvalidAudioError: it has no samples.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    encoding = channels = sample_rate = bits = 0
    for _ in range(MAX_CHUNKS):
        chunk = file.read(CHUNK.size)
        if len(chunk) < CHUNK.size:
            break
        name, length = CHUNK.unpack(chunk)
        offset = file.tell()
        if name == b"data":
            declared = 0 if length >= UNKNOWN_LENGTH else length
            present = min(declared or size, size - offset)
            return WavHeader(encoding, channels, sample_rate, bits, offset, present, declared)
        if name == b"fmt ":
            fmt = file.read(FORMAT.size)
            if len(fmt) < FORMAT.size:
                break
            encoding, channels, sample_rate, _, _, bits = FORMAT.unpack(fmt)
        file.seek(offset + length + length % 2)
    raise InvalidAudioError(NO_SAMPLES, param="file")


def joined_wav(file: BinaryIO, header: WavHeader) -> int | None:
    """Return where a second RIFF wave begins behind the samples of the first, in bytes; None if none does.

    Services that speak answer with many short ones, and clients put them one behind the other.
    """
    start = header.end + header.end % 2
    file.seek(start)
    head = file.read(12)
    return start if head[:4] == b"RIFF" and head[8:] == b"WAVE" else None


def is_complete(file: BinaryIO, size: int) -> bool:
    """Return False for an ogg file that ends inside a page, a matroska or webm one inside its segment, an mp4 one
    inside a box; of other formats nothing is known.

    An ogg stream may legally lack its end mark (RFC 7845, section 4), so one cut between two pages passes.

    Args:
        file: the upload, at any position.
        size: size of the file in bytes.
    """
    file.seek(0)
    head = file.read(4096)
    if head.startswith(OGG_PAGE):
        file.seek(max(0, size - LONGEST_OGG_PAGE))
        return _ends_with_page(file.read())
    if head.startswith(EBML):
        return _segment_end(head) <= size
    return head[4:8] not in MP4_BOXES or _boxes_end(file, size) <= size


def declares_mp3_frames(file: BinaryIO) -> bool:
    """Return whether an mp3 file starts with a frame count (Xing or LAME), so that its length is more than a guess."""
    file.seek(0)
    tag = file.read(ID3_HEADER.size)
    is_tagged = len(tag) == ID3_HEADER.size and tag.startswith(b"ID3")
    file.seek(_id3_length(tag) if is_tagged else 0)
    head = file.read(4096)
    start = max(head.find(b"Xing"), head.find(b"Info"))
    flags = int.from_bytes(head[start + 4 : start + 8])
    return start >= 0 and bool(flags & 1)


def _ends_with_page(tail: bytes) -> bool:
    """Return whether the last page that starts in ``tail`` also ends there (RFC 3533, section 6)."""
    page = tail[tail.rfind(OGG_PAGE) :]
    if len(page) < OGG_HEADER or not page.startswith(OGG_PAGE):
        return False
    lengths = page[OGG_HEADER : OGG_HEADER + page[OGG_HEADER - 1]]
    return len(page) >= OGG_HEADER + page[OGG_HEADER - 1] + sum(lengths)


def _segment_end(head: bytes) -> int:
    """Return where the segment of a matroska file ends; 0 if the file does not say (RFC 8794, section 6)."""
    length, body = _ebml_length(head, len(EBML))
    segment = body + length
    if not head.startswith(SEGMENT, segment):
        return 0
    length, body = _ebml_length(head, segment + len(SEGMENT))
    return body + length if length else 0


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Return where the last box of an mp4 file ends (ISO/IEC 14496-12, section 4.2); what is no box ends the search."""
    end = 0
    for _ in range(MAX_BOXES):
        if end >= size:
            break
        file.seek(end)
        head = file.read(LARGE_BOX.size).ljust(LARGE_BOX.size, b"\0")
        length, name, large_length = LARGE_BOX.unpack(head)
        length = large_length if length == 1 else length
        if name not in MP4_BOXES or not length:
            break
        end += length
    return end


def _ebml_length(head: bytes, offset: int) -> tuple[int, int]:
    """Return the length of an element's body, 0 if unknown, and where the body starts."""
    if offset >= len(head) or not head[offset]:
        return 0, offset
    width = 9 - head[offset].bit_length()
    mask = (1 << 7 * width) - 1
    length = int.from_bytes(head[offset : offset + width]) & mask
    return (0 if length == mask else length), offset + width


def _id3_length(tag: bytes) -> int:
    """Return the bytes of an ID3v2 tag with its header; the tag states its size as seven bits in each of four bytes."""
    a, b, c, d = ID3_HEADER.unpack(tag)
    body: int = a << 21 | b << 14 | c << 7 | d
    return ID3_HEADER.size + body
