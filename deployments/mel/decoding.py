"""Uploaded bytes to 16 kHz mono, with FFmpeg (PyAV): the samples that faster-whisper's ``decode_audio`` gives.

An upload is hostile until it is decoded: length, channels, sample rate and CPU time are checked before each frame.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from numpy.typing import NDArray

from deployments.mel.containers import WavHeader, check_complete, declares_mp3_frames, read_wav_header
from deployments.mel.damage import DAMAGED, continuous, decoded_frames, finite, mp3_frames
from deployments.mel.opening import declared_seconds, first_track, open_container
from deployments.mel.resampling import resampled
from deployments.shared.errors import AudioTooLongError, AudioTooSlowError, InvalidAudioError
from deployments.shared.frames import SAMPLE_RATE

NO_SAMPLES = "The audio track is empty. Upload a recording with sound in it."
ODD_RATE = "The sample rate is not usual for audio. Export it with 16000 Hz."
TOO_SLOW = "The audio takes too long to decode. Split it, or export it as mono with 16000 Hz."

SAMPLE_RATES = range(4_000, 384_001)
MAX_GAP_S = {"flac": 0.05, "mp3": 0.05, "ogg": 0.1, "matroska,webm": 1.0}  # webm may leave out silence (Opus DTX)
CPU_PER_SECOND = 0.05
"""CPU seconds that decoding may take per second of audio. An mp3 needs a hundredth of that, eight channels at 96 kHz a
third."""


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """What an upload may ask for.

    Attributes:
        max_seconds: longest decoded audio.
        max_channels: channels of the track.
        max_cpu_s: CPU seconds that decoding may take beyond ``CPU_PER_SECOND``: a small file may hold very many tiny
            packets, or channels at a very high sample rate.
    """

    max_seconds: float
    max_channels: int
    max_cpu_s: float


@dataclass(slots=True)
class _Decoded:
    """How far decoding has come.

    Attributes:
        progressed: called after each second of audio.
        seconds: audio decoded until now.
    """

    progressed: Callable[[], None]
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        before = int(self.seconds)
        self.seconds += seconds
        if int(self.seconds) > before:
            self.progressed()


def decode(source: BinaryIO, limits: AudioLimits, progressed: Callable[[], None] = lambda: None) -> NDArray[np.int16]:
    """Decode the first audio track of a file to 16 kHz mono: ``[n_samples]``, at least one, perhaps read-only.

    A file that is cut off is rejected where its format can tell: see ``containers``.

    Args:
        source: seekable; read from its start, not closed.
        limits: enforced while decoding, so a small file never grows into a large array.
        progressed: called after each second of audio.

    Raises:
        InvalidAudioError: empty, no supported audio, damaged or cut off.
        AudioTooLongError: longer than ``max_seconds``.
        AudioTooSlowError: more CPU time than ``max_cpu_s`` and the length of the audio explain.
    """
    size = source.seek(0, io.SEEK_END)
    if not size:
        raise InvalidAudioError.empty_file()
    header = read_wav_header(source, size)
    if header and header.is_decoded:
        return _read_samples(source, header, limits)
    check_complete(source, size)
    pcm = _decode_container(source, limits, _Decoded(progressed))
    if not len(pcm):
        raise InvalidAudioError(NO_SAMPLES, param="file")
    return pcm


def _read_samples(source: BinaryIO, header: WavHeader, limits: AudioLimits) -> NDArray[np.int16]:
    n_samples = header.n_bytes // 2
    if not n_samples:
        raise InvalidAudioError(NO_SAMPLES, param="file")
    _check_length(n_samples / SAMPLE_RATE, limits)
    source.seek(header.offset)
    return np.frombuffer(source.read(2 * n_samples), "<i2")


def _decode_container(source: BinaryIO, limits: AudioLimits, decoded: _Decoded) -> NDArray[np.int16]:
    exact_mp3 = declares_mp3_frames(source)
    source.seek(0)
    with open_container(source) as container:
        stream = first_track(container)
        declared_s = declared_seconds(container, stream, exact_mp3=exact_mp3)
        _check_length(declared_s or 0.0, limits)
        packets = _timely(container, stream, limits, decoded)
        frames = _limited(_undamaged(packets, container, stream, declared_s), limits, decoded)
        pcm = bytearray()
        try:
            for frame in resampled(frames):
                pcm += memoryview(frame.planes[0])[: 2 * frame.samples]
        except av.FFmpegError as error:
            raise InvalidAudioError(DAMAGED, param="file") from error
    return np.frombuffer(pcm, np.int16)


def _undamaged(
    packets: Iterable[Packet[AudioStream]], container: InputContainer, stream: AudioStream, declared_s: float | None
) -> Iterator[AudioFrame]:
    """Decode the packets, and stop with an error at the first damage."""
    name = container.format.name
    frames = mp3_frames(packets) if name == "mp3" else decoded_frames(packets)
    if name in MAX_GAP_S:
        frames = continuous(frames, stream, declared_s, MAX_GAP_S[name])
    if stream.codec_context.name.startswith("pcm_f"):
        frames = finite(frames)
    return frames


def _timely(
    container: InputContainer, stream: AudioStream, limits: AudioLimits, decoded: _Decoded
) -> Iterator[Packet[AudioStream]]:
    """Yield the packets of the stream, as long as decoding is not too slow.

    Packets of other streams, for example of a video, are read too, so their time counts.
    """
    began_s = time.thread_time()
    for packet in container.demux():
        if time.thread_time() - began_s > limits.max_cpu_s + CPU_PER_SECOND * decoded.seconds:
            raise AudioTooSlowError(TOO_SLOW, param="file")
        if packet.stream.index == stream.index:
            yield cast("Packet[AudioStream]", packet)


def _limited(frames: Iterable[AudioFrame], limits: AudioLimits, decoded: _Decoded) -> Iterator[AudioFrame]:
    for frame in frames:
        if frame.sample_rate not in SAMPLE_RATES:
            raise InvalidAudioError(ODD_RATE, param="file")
        if frame.layout.nb_channels > limits.max_channels:
            message = f"The audio has more than {limits.max_channels} channels. Mix it down to mono."
            raise InvalidAudioError(message, param="file")
        decoded.add(frame.samples / frame.sample_rate)
        _check_length(decoded.seconds, limits)
        yield frame


def _check_length(seconds: float, limits: AudioLimits) -> None:
    if seconds > limits.max_seconds:
        message = f"The audio is longer than {limits.max_seconds:g} seconds. Split it into shorter files."
        raise AudioTooLongError(message, param="file")
