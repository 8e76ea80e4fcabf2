"""Damage that FFmpeg passes over in silence, noticed while frames are decoded: no audio goes missing unnoticed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet

from deployments.mel.containers import INCOMPLETE
from deployments.mel.opening import tick_s
from deployments.shared.errors import InvalidAudioError

DAMAGED = "The audio is damaged or cut off: a part of it cannot be decoded. Upload the whole file, or export it again."
NOT_NUMBERS = "The audio holds samples that are not numbers. Export it again."

MP3_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")


def decoded_frames(packets: Iterable[Packet[AudioStream]]) -> Iterator[AudioFrame]:
    """Yield the frames of a stream.

    Raises:
        av.FFmpegError: at the first damaged packet.
    """
    for packet in packets:
        yield from packet.decode()


def mp3_frames(packets: Iterable[Packet[AudioStream]]) -> Iterator[AudioFrame]:
    """Yield the frames of an mp3 stream, in which tags between the frames, and what follows the last, are packets too.

    Raises:
        InvalidAudioError: damage between two frames.
    """
    started = damaged = False
    for packet in packets:
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            damaged = damaged or (started and not bytes(packet).startswith(MP3_TAGS))
            continue
        if frames and damaged:
            raise InvalidAudioError(DAMAGED, param="file")
        started = started or bool(frames)
        yield from frames


def continuous(
    frames: Iterable[AudioFrame], stream: AudioStream, declared_s: float | None, max_gap_s: float
) -> Iterator[AudioFrame]:
    """Yield frames whose time neither jumps ahead nor ends early: FFmpeg skips damaged ogg pages and matroska clusters.

    Raises:
        InvalidAudioError: more than ``max_gap_s`` is missing between two frames, or at the end.
    """
    unit_s = tick_s(stream)
    end_s = None
    for frame in frames:
        if frame.pts is not None:
            start_s = frame.pts * unit_s
            if end_s is not None and start_s > end_s + max_gap_s:
                raise InvalidAudioError(DAMAGED, param="file")
            end_s = start_s + frame.samples / frame.sample_rate
        yield frame
    declared_end_s = (stream.start_time or 0) * unit_s + (declared_s or 0.0)
    if end_s is not None and declared_end_s > end_s + max_gap_s:
        raise InvalidAudioError(INCOMPLETE, param="file")


def finite(frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
    """Yield frames whose samples are numbers.

    Raises:
        InvalidAudioError: a sample is infinite or not a number.
    """
    for frame in frames:
        if not np.isfinite(frame.to_ndarray()).all():
            raise InvalidAudioError(NOT_NUMBERS, param="file")
        yield frame
