"""Uploads, opened with FFmpeg (PyAV) so that a hostile one can do no harm.

Only the listed demuxers and decoders may run, nothing but the upload is ever opened, and no block of memory is large.
"""

from __future__ import annotations

import ctypes
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from deployments.shared.errors import AUDIO_FORMATS, InvalidAudioError

UNREADABLE = (
    f"The file is not audio that this service reads, or its beginning or index is missing. Upload {AUDIO_FORMATS}."
)
NO_AUDIO = f"The file has no audio track in a supported codec. Upload {AUDIO_FORMATS}."

DEMUXERS = ("wav", "flac", "mp3", "aac", "ogg", "matroska", "mov")
DECODERS = (
    *("aac", "aac_latm", "alac", "flac", "opus", "libopus", "vorbis", "libvorbis"),
    *("mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "adpcm_ms", "adpcm_ima_wav"),
    *("pcm_alaw", "pcm_mulaw", "pcm_u8", "pcm_s8", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"),
    *("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
)
OPTIONS = {
    "protocol_whitelist": "none",  # no file and no network: PyAV passes the bytes on without a protocol
    "format_whitelist": ",".join(DEMUXERS),
    "codec_whitelist": ",".join(DECODERS),
    "max_streams": "16",
    # The headers say what the decoder needs. By default FFmpeg also examines up to 5 s of audio, 2.5 ms for a wav.
    "probesize": "65536",
    "analyzeduration": "1",
}

LARGEST_BLOCK = 32 * 2**20
"""Bytes of the largest block of memory that FFmpeg may allocate. The index of 8 hours of aac fits.

A few bytes of an mp4 can declare a hundred million samples, whose index takes gigabytes.
"""

ctypes.CDLL(av.packet.__file__).av_max_alloc(ctypes.c_size_t(LARGEST_BLOCK))  # PyAV links to it, but does not offer it


def open_container(source: BinaryIO) -> InputContainer:
    """Open an upload; the caller closes the container.

    Raises:
        InvalidAudioError: the file is in none of the formats.
    """
    try:
        container: InputContainer = av.open(source, container_options=OPTIONS, metadata_errors="ignore")
    except av.FFmpegError as error:
        raise InvalidAudioError(UNREADABLE, param="file") from error
    return container


def first_track(container: InputContainer) -> AudioStream:
    """Return the first audio track, to be decoded by one thread.

    Raises:
        InvalidAudioError: there is none, or none of the decoders reads it.
    """
    stream = next(iter(container.streams.audio), None)
    if stream is None or stream.codec_context is None or stream.codec_context.name not in DECODERS:
        raise InvalidAudioError(NO_AUDIO, param="file")
    stream.codec_context.thread_count = 1
    return stream


def declared_seconds(container: InputContainer, stream: AudioStream, *, exact_mp3: bool) -> float | None:
    """Return the track's duration where its format states one; None elsewhere.

    Elsewhere FFmpeg would estimate it, or give that of the video.

    Args:
        container: the opened upload.
        stream: its audio track.
        exact_mp3: an mp3 file declares its number of frames.
    """
    name = container.format.name
    if name == "matroska,webm":
        is_alone = container.duration is not None and len(container.streams) == 1
        return container.duration / av.time_base if is_alone else None
    is_stated = name in ("flac", "ogg") or (name == "mp3" and exact_mp3)
    return stream.duration * tick_s(stream) if is_stated and stream.duration is not None else None


def tick_s(stream: AudioStream) -> float:
    """Return the seconds of one unit of the stream's time stamps."""
    return float(stream.time_base or 0)
