"""What a file is that FFmpeg could not open, from its first bytes, so that the refusal can say so."""

from __future__ import annotations

from typing import BinaryIO

HEAD = 4096

MP4_WITHOUT_INDEX = (
    "This is an mp4 or m4a file whose index (the moov box) is missing: the recording or its upload was cut off."
)
TEXT = "This is a web page or another text, not a recording: perhaps a server's answer to a download that failed."
KINDS: tuple[tuple[bytes, int, str], ...] = (
    (b"ftyp", 4, MP4_WITHOUT_INDEX),
    (b"\x1a\x45\xdf\xa3", 0, "This is a webm or matroska file without a sound in it, or its beginning is damaged."),
    (b"OggS", 0, "This is an ogg file whose beginning is missing or damaged."),
    (b"RIFF", 0, "This is a RIFF file that is damaged, or not a recording."),
    (b"fLaC", 0, "This is a flac file whose beginning is damaged."),
    (b"%PDF", 0, "This is a PDF document."),
    (b"PK\x03\x04", 0, "This is a zip archive or a document."),
)
"""Bytes, where they stand, and what a file is that has them there."""


def describe(source: BinaryIO) -> str:
    """Return in one sentence what the file seems to be."""
    source.seek(0)
    head = source.read(HEAD)
    for mark, offset, kind in KINDS:
        if head.startswith(mark, offset):
            return kind
    if head.lstrip()[:1] in (b"<", b"{"):
        return TEXT
    return "This is no recording that the service reads, or its beginning is missing."
