"""Uploaded bytes to 16 kHz, with FFmpeg (PyAV): the samples that faster-whisper's ``decode_audio`` gives.

An upload is hostile until it is decoded: length, channels, sample rate and CPU time are checked before each frame.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from deployments.mel.containers import WavHeader, joined_wav, read_wav_header
from deployments.mel.cpu_budget import CpuBudget, within
from deployments.mel.damage import cut_off
from deployments.mel.declared import Declared
from deployments.mel.file_tail import file_tail
from deployments.mel.opening import open_container
from deployments.mel.resampling import Channels
from deployments.mel.track_decoding import Allowance, AudioLimits, Recording, TrackDecoder
from deployments.mel.tracks import chosen_track, readable_tracks
from deployments.shared.contracts import AudioOptions
from deployments.shared.errors import InvalidAudioError
from deployments.shared.frames import SAMPLE_RATE

NO_SAMPLES = "The audio track is empty, or nothing of it can be decoded. Upload a recording with sound in it."
ODD_PARTS = "The parts of the file have different numbers of channels: leave `channels` out, or upload them one by one."
STRICT = "Upload the whole file, or leave `strict` out to get the text of what is there."

AS_IT_IS: Final = AudioOptions()


def decode(
    source: BinaryIO,
    limits: AudioLimits,
    progressed: Callable[[], None] = lambda: None,
    options: AudioOptions = AS_IT_IS,
) -> Recording:
    """Decode one audio track of a file, in the time of the recording: at least one sample.

    What can be read is read; what of the recording is missing is told in warnings, as far as its format can tell.

    Args:
        source: seekable; read from its start, not closed.
        limits: enforced while decoding.
        progressed: called after each second of audio.
        options: what is read of the file.

    Raises:
        InvalidAudioError: empty, no supported audio, nothing that can be decoded; or damaged, and ``strict``.
        AudioTooLongError: longer than ``max_seconds``.
        AudioTooSlowError: more CPU time than ``max_cpu_s`` and the length of the audio explain.
    """
    size = source.seek(0, io.SEEK_END)
    if not size:
        raise InvalidAudioError.empty_file()
    allowance = Allowance(limits, CpuBudget(limits.max_cpu_s), progressed)
    seconds, parts = 0.0, list[Recording]()
    for file, header in _files(within(allowance.budget, source), size):
        parts.append(_decode_part(file, header, allowance, options))
        seconds += parts[-1].seconds
        limits.check_length(seconds)
    recording = _joined(parts)
    if recording.warnings and options.strict:
        raise InvalidAudioError(f"{' '.join(recording.warnings)} {STRICT}", param="file")
    return recording


def _files(source: BinaryIO, size: int) -> Iterator[tuple[BinaryIO, WavHeader | None]]:
    """Yield the files in an upload, and their headers: one, but where RIFF waves are joined."""
    start: int | None = 0
    while start is not None:
        file = file_tail(source, start) if start else source
        header = read_wav_header(file, size - start)
        following = joined_wav(file, header) if header else None
        yield file, header
        start = None if following is None else start + following


def _decode_part(source: BinaryIO, header: WavHeader | None, allowance: Allowance, options: AudioOptions) -> Recording:
    if header and header.is_decoded:
        return _read_samples(source, header, allowance.limits)
    channels: Channels = "all" if options.separate_channels else "mix"
    tried = 0
    while True:
        with open_container(source) as container:
            tracks = _tracks(container, options)
            decoder = TrackDecoder(source, container, tracks[tried], allowance, channels)
            recording = decoder.decode(Declared(source, container, tracks[tried]))
            alone, has_more = decoder.meter.channel, tried + 1 < len(tracks)
        if not recording.pcm.size and has_more:
            tried += 1
        elif channels == "mix" and alone is not None:
            channels = alone
        else:
            return recording


def _tracks(container: InputContainer, options: AudioOptions) -> list[AudioStream]:
    """Return the tracks to try, until one has sound in it."""
    return readable_tracks(container) if options.track is None else [chosen_track(container, options.track)]


def _read_samples(source: BinaryIO, header: WavHeader, limits: AudioLimits) -> Recording:
    """Read samples that are what is wanted already."""
    n_samples = header.n_bytes // 2
    limits.check_length(n_samples / SAMPLE_RATE)
    source.seek(header.offset)
    pcm = np.frombuffer(source.read(2 * n_samples), "<i2")[None]
    if header.declared_s is None:
        return Recording(pcm)
    return Recording(pcm, (cut_off(n_samples / SAMPLE_RATE, header.declared_s),))


def _joined(parts: Sequence[Recording]) -> Recording:
    if not sum(part.pcm.size for part in parts):
        raise InvalidAudioError(NO_SAMPLES, param="file")
    if len(parts) == 1:
        return parts[0]
    if len({len(part.pcm) for part in parts}) > 1:
        raise InvalidAudioError(ODD_PARTS, param="channels")
    warnings = tuple(warning for part in parts for warning in part.warnings)
    return Recording(np.concatenate([part.pcm for part in parts], axis=1), warnings)
