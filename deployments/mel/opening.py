"""Uploads, opened with FFmpeg (PyAV) so that a hostile one can do no harm.

Only the listed demuxers and decoders may run, nothing but the upload is ever opened, and no block of memory is large.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import BinaryIO

import av
from av.container import InputContainer

from deployments.mel.codecs import DECODERS, DEMUXERS
from deployments.mel.file_tail import file_tail
from deployments.mel.mp3_start import LONGEST, SEARCHED, first_frame
from deployments.mel.sniffing import describe
from deployments.mel.tracks import readable_tracks
from deployments.shared.errors import AUDIO_FORMATS, InvalidAudioError

OPTIONS = {
    "protocol_whitelist": "none",  # no file and no network: PyAV passes the bytes on without a protocol
    "format_whitelist": ",".join(DEMUXERS),
    "codec_whitelist": ",".join(DECODERS),
    "max_streams": "256",  # a film has dozens of subtitles; FFmpeg stops without an error in a file that has more
}
FROM_HEADERS = {"probesize": "65536", "analyzeduration": "1"}
"""The headers of most files say what the decoder needs; FFmpeg's own way costs 2.5 ms, for a wav too."""

FROM_PACKETS = {"probesize": str(5 * 2**20), "analyzeduration": "5000000"}
"""FFmpeg's own way, for files that begin with something else, and for television, which has no headers."""

LARGEST_BLOCK = 32 * 2**20
"""Bytes of the largest block of memory that FFmpeg may allocate. The index of 8 hours of aac fits.

A few bytes of an mp4 can declare a hundred million samples, whose index takes gigabytes.
"""

ctypes.CDLL(av.packet.__file__).av_max_alloc(ctypes.c_size_t(LARGEST_BLOCK))  # PyAV links to it, but does not offer it


def open_container(source: BinaryIO) -> InputContainer:
    """Open an upload that has an audio track which can be decoded; the caller closes the container.

    Raises:
        InvalidAudioError: it has none; the message says what was found instead.
    """
    found: str | None = None
    for file, probing in _ways(source):
        file.seek(0)
        try:
            container: InputContainer = av.open(file, container_options=OPTIONS | probing, metadata_errors="ignore")
        except av.FFmpegError:
            continue
        if readable_tracks(container):
            return container
        found = _describe_tracks(container)
        container.close()
    raise InvalidAudioError(f"{found or describe(source)} Upload {AUDIO_FORMATS}.", param="file")


def _ways(source: BinaryIO) -> Iterator[tuple[BinaryIO, dict[str, str]]]:
    """Yield the ways to open an upload, from the one that nearly all files need to the rarest."""
    yield source, FROM_HEADERS
    yield source, FROM_PACKETS
    source.seek(0)
    if start := first_frame(source.read(SEARCHED + LONGEST)):
        yield file_tail(source, start), FROM_HEADERS


def _describe_tracks(container: InputContainer) -> str:
    tracks = ", ".join(sorted({track.codec_context.name for track in container.streams.audio if track.codec_context}))
    kind = container.format.long_name
    if container.streams.audio:
        return f"This is a {kind} file whose audio ({tracks or 'of an unknown kind'}) cannot be decoded here."
    return f"This is a {kind} file without an audio track."
