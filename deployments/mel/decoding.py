"""Uploaded bytes to 16 kHz mono, with FFmpeg (PyAV): the samples that faster-whisper's ``decode_audio`` gives.

An upload is hostile until decoded. Only the listed demuxers and decoders may run, nothing but the upload is ever
opened, and length, channels, sample rate and CPU time are checked all along, before the next frame is decoded.
"""

from __future__ import annotations

import ctypes
import io
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from numpy.typing import NDArray

from deployments.mel.containers import INCOMPLETE, WavHeader, check_complete, declares_mp3_frames, read_wav_header
from deployments.shared.errors import AudioTooLongError, AudioTooSlowError, InvalidAudioError
from deployments.shared.frames import SAMPLE_RATE

FORMATS = "wav, flac, mp3, m4a/aac, ogg/opus, webm or mp4"

_EMPTY = f"The file is empty. Upload a recording as {FORMATS}."
_UNREADABLE = f"The file is not audio that this service reads, or its beginning or index is missing. Upload {FORMATS}."
_NO_AUDIO = f"The file has no audio track in a supported codec. Upload {FORMATS}."
_NO_SAMPLES = "The audio track is empty. Upload a recording with sound in it."
_DAMAGED = "The audio is damaged or cut off: a part of it cannot be decoded. Upload the whole file, or export it again."

_DEMUXERS = ("wav", "flac", "mp3", "aac", "ogg", "matroska", "mov")
_DECODERS = (
    *("aac", "aac_latm", "alac", "flac", "opus", "libopus", "vorbis", "libvorbis"),
    *("mp1", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "adpcm_ms", "adpcm_ima_wav"),
    *("pcm_alaw", "pcm_mulaw", "pcm_u8", "pcm_s8", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"),
    *("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
)
_OPTIONS = {
    "protocol_whitelist": "none",  # no file and no network: PyAV hands over the bytes without a protocol
    "format_whitelist": ",".join(_DEMUXERS),
    "codec_whitelist": ",".join(_DECODERS),
    "max_streams": "16",
    # The headers say what the decoder needs. By default FFmpeg also examines up to 5 s of audio, 2.5 ms for a wav.
    "probesize": "65536",
    "analyzeduration": "1",
}

# A few bytes of an mp4 can declare a hundred million samples, whose index takes gigabytes: no block of memory may be
# larger than this. The index of 8 hours of aac fits. PyAV does not offer the function, but links to it.
_LARGEST_BLOCK = 32 * 2**20
ctypes.CDLL(av.packet.__file__).av_max_alloc(ctypes.c_size_t(_LARGEST_BLOCK))

_SAMPLE_RATES = range(4_000, 384_001)
_DECODED = ("s16", "mono", SAMPLE_RATE)
_BLOCK = 100_000  # samples resampled at a time
_MAX_GAP_S = {"flac": 0.05, "mp3": 0.05, "ogg": 0.1, "matroska,webm": 1.0}  # webm may leave out silence (Opus DTX)
CPU_PER_SECOND = 0.05
"""Decoding may take so long for each second of audio: mp3 takes a hundredth of it, eight channels at 96 kHz a third."""

_MP3_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """What an upload may ask for.

    Attributes:
        max_seconds: of decoded audio.
        max_channels: of the track.
        max_cpu_s: of this thread, to decode it, beyond ``CPU_PER_SECOND`` of what was decoded: a small file may hold
            very many tiny packets, or channels at a very high sample rate.
    """

    max_seconds: float
    max_channels: int
    max_cpu_s: float


@dataclass(slots=True)
class _Decoded:
    """How far decoding has come.

    Attributes:
        seconds: of audio.
        progressed: is called after each of them.
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

    A file that is cut off is refused where its format can tell: see ``containers``.

    Args:
        source: seekable; read from its start, not closed.
        limits: enforced while decoding, so a small file never grows into a large array.
        progressed: is called after each second of audio.

    Raises:
        InvalidAudioError: empty, no supported audio, damaged or cut off.
        AudioTooLongError: more than ``max_seconds``.
        AudioTooSlowError: more than ``max_cpu_s``.
    """
    size = source.seek(0, io.SEEK_END)
    if not size:
        raise InvalidAudioError(_EMPTY, param="file")
    header = read_wav_header(source, size)
    if header and header.is_decoded:
        return _read_samples(source, header, limits)
    check_complete(source, size)
    pcm = _decode_container(source, limits, _Decoded(progressed))
    if not len(pcm):
        raise InvalidAudioError(_NO_SAMPLES, param="file")
    return pcm


def _read_samples(source: BinaryIO, header: WavHeader, limits: AudioLimits) -> NDArray[np.int16]:
    n_samples = header.n_bytes // 2
    if not n_samples:
        raise InvalidAudioError(_NO_SAMPLES, param="file")
    if n_samples > limits.max_seconds * SAMPLE_RATE:
        _refuse_length(limits)
    source.seek(header.offset)
    return np.frombuffer(source.read(2 * n_samples), "<i2")


def _decode_container(source: BinaryIO, limits: AudioLimits, decoded: _Decoded) -> NDArray[np.int16]:
    exact_mp3 = declares_mp3_frames(source)
    source.seek(0)
    with _open(source) as container:
        stream = _first_track(container)
        declared_s = _declared_seconds(container, stream, exact_mp3=exact_mp3)
        if declared_s and declared_s > limits.max_seconds:
            _refuse_length(limits)
        try:
            return _decode_stream(container, stream, declared_s, limits, decoded)
        except av.FFmpegError as error:
            raise InvalidAudioError(_DAMAGED, param="file") from error


def _open(source: BinaryIO) -> InputContainer:
    try:
        container: InputContainer = av.open(source, container_options=_OPTIONS, metadata_errors="ignore")
    except av.FFmpegError as error:
        raise InvalidAudioError(_UNREADABLE, param="file") from error
    return container


def _first_track(container: InputContainer) -> AudioStream:
    stream = next(iter(container.streams.audio), None)
    if stream is None or stream.codec_context is None or stream.codec_context.name not in _DECODERS:
        raise InvalidAudioError(_NO_AUDIO, param="file")
    stream.codec_context.thread_count = 1
    return stream


def _declared_seconds(container: InputContainer, stream: AudioStream, *, exact_mp3: bool) -> float | None:
    """The track's duration where its format states one; elsewhere FFmpeg estimates it, or knows that of the video."""
    name = container.format.name
    if name == "matroska,webm":
        is_alone = container.duration is not None and len(container.streams) == 1
        return container.duration / av.time_base if is_alone else None
    is_stated = name in ("flac", "ogg") or (name == "mp3" and exact_mp3)
    return stream.duration * _tick_s(stream) if is_stated and stream.duration is not None else None


def _tick_s(stream: AudioStream) -> float:
    """Seconds of one unit of the stream's time stamps."""
    return float(stream.time_base or 0)


def _decode_stream(
    container: InputContainer, stream: AudioStream, declared_s: float | None, limits: AudioLimits, decoded: _Decoded
) -> NDArray[np.int16]:
    # Decoding stops with an error at the first damaged packet, so that no audio goes missing unnoticed.
    packets = _timely(container, stream, limits, decoded)
    frames = _mp3_frames(packets) if container.format.name == "mp3" else _frames(packets)
    if container.format.name in _MAX_GAP_S:
        frames = _continuous(frames, stream, declared_s, _MAX_GAP_S[container.format.name])
    if stream.codec_context.name.startswith("pcm_f"):
        frames = _finite(frames)
    pcm = bytearray()
    for layout, run in itertools.groupby(_limited(frames, limits, decoded), key=_layout):
        for frame in run if layout == _DECODED else _resample(run, layout):
            pcm += memoryview(frame.planes[0])[: 2 * frame.samples]
    return np.frombuffer(pcm, np.int16)


def _timely(
    container: InputContainer, stream: AudioStream, limits: AudioLimits, decoded: _Decoded
) -> Iterator[Packet[AudioStream]]:
    """The packets of the stream. Those of others, of a video say, are read too, so that their time is seen."""
    began_s = time.thread_time()
    for packet in container.demux():
        if time.thread_time() - began_s > limits.max_cpu_s + CPU_PER_SECOND * decoded.seconds:
            message = "The audio takes too long to decode. Split it, or export it as mono with 16000 Hz."
            raise AudioTooSlowError(message, param="file")
        if packet.stream.index == stream.index:
            yield cast("Packet[AudioStream]", packet)


def _frames(packets: Iterable[Packet[AudioStream]]) -> Iterator[AudioFrame]:
    for packet in packets:
        yield from packet.decode()


def _mp3_frames(packets: Iterable[Packet[AudioStream]]) -> Iterator[AudioFrame]:
    """The frames of an mp3 stream, where tags between the frames, and whatever follows the last, are packets too."""
    started = damaged = False
    for packet in packets:
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            damaged = damaged or (started and not bytes(packet).startswith(_MP3_TAGS))
            continue
        if frames and damaged:
            raise InvalidAudioError(_DAMAGED, param="file")
        started = started or bool(frames)
        yield from frames


def _finite(frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
    for frame in frames:
        if not np.isfinite(frame.to_ndarray()).all():
            raise InvalidAudioError("The audio holds samples that are not numbers. Export it again.", param="file")
        yield frame


def _continuous(
    frames: Iterable[AudioFrame], stream: AudioStream, declared_s: float | None, max_gap_s: float
) -> Iterator[AudioFrame]:
    """Raise where time jumps ahead or ends early: FFmpeg skips damaged ogg pages and matroska clusters in silence."""
    tick_s = _tick_s(stream)
    end_s = None
    for frame in frames:
        if frame.pts is not None:
            start_s = frame.pts * tick_s
            if end_s is not None and start_s > end_s + max_gap_s:
                raise InvalidAudioError(_DAMAGED, param="file")
            end_s = start_s + frame.samples / frame.sample_rate
        yield frame
    declared_end_s = (stream.start_time or 0) * tick_s + (declared_s or 0.0)
    if end_s is not None and declared_end_s > end_s + max_gap_s:
        raise InvalidAudioError(INCOMPLETE, param="file")


def _limited(frames: Iterable[AudioFrame], limits: AudioLimits, decoded: _Decoded) -> Iterator[AudioFrame]:
    for frame in frames:
        if frame.sample_rate not in _SAMPLE_RATES:
            raise InvalidAudioError("The sample rate is not usual for audio. Export it with 16000 Hz.", param="file")
        if frame.layout.nb_channels > limits.max_channels:
            message = f"The audio has more than {limits.max_channels} channels. Mix it down to mono."
            raise InvalidAudioError(message, param="file")
        decoded.add(frame.samples / frame.sample_rate)
        if decoded.seconds > limits.max_seconds:
            _refuse_length(limits)
        yield frame


def _refuse_length(limits: AudioLimits) -> NoReturn:
    message = f"The audio is longer than {limits.max_seconds:g} seconds. Split it into shorter files."
    raise AudioTooLongError(message, param="file")


def _layout(frame: AudioFrame) -> tuple[str, str, int]:
    """What the resampler is built for; it may change within a file."""
    return frame.format.name, frame.layout.name, frame.sample_rate


def _resample(frames: Iterable[AudioFrame], layout: tuple[str, str, int]) -> Iterator[AudioFrame]:
    """As PyAV's ``AudioResampler`` does it, without its two threads and its exception for every frame."""
    sample_format, channels, rate = layout
    graph = Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add("abuffer", sample_fmt=sample_format, channel_layout=channels, sample_rate=str(rate)),
        graph.add("aformat", sample_fmts="s16", channel_layouts="mono", sample_rates=str(SAMPLE_RATE)),
        graph.add("abuffersink"),
    ).configure()
    waiting = 0
    for frame in frames:
        frame.pts = None
        graph.push(frame)
        waiting += frame.samples
        if waiting >= _BLOCK:
            waiting = 0
            yield from _pull(graph)
    graph.push(None)
    yield from _pull(graph)


def _pull(graph: Graph) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
