"""How long an opened upload says that it is, so that one that was cut off is noticed."""

from __future__ import annotations

import io
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from deployments.mel.containers import declares_mp3_frames, is_complete, read_wav_header


class Declared:
    """What a file declares.

    Attributes:
        seconds: length of the track where its format states one; None elsewhere, where FFmpeg would estimate it, or
            give that of the video.
        is_complete: as far as its format can tell. An index of samples tells more than the box that holds them.
    """

    def __init__(self, source: BinaryIO, container: InputContainer, stream: AudioStream) -> None:
        position = source.tell()
        size = source.seek(0, io.SEEK_END)
        self.is_complete = is_complete(source, size)
        self.seconds = self._seconds(source, size, container, stream)
        if container.format.name.startswith("mov") and self.seconds is not None:
            self.is_complete = True
        source.seek(position)

    def _seconds(self, source: BinaryIO, size: int, container: InputContainer, stream: AudioStream) -> float | None:
        match container.format.name:
            case "wav":
                header = read_wav_header(source, size)
                return header.declared_s if header else None
            case "matroska,webm":
                is_alone = container.duration is not None and len(container.streams) == 1
                return container.duration / av.time_base if is_alone else None
            case "mp3":
                is_stated = declares_mp3_frames(source)
            case "flac" | "ogg":
                is_stated = True
            case name:
                is_stated = name.startswith("mov") and not self.is_complete
        if not is_stated or stream.duration is None:
            return None
        return stream.duration * float(stream.time_base or 0)
