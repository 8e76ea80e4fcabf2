"""One audio track of an opened upload, decoded in the time of the recording, within the limits of an upload."""

from __future__ import annotations

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

from deployments.mel.byte_clock import CLOCKLESS, ByteClock
from deployments.mel.channels import StereoMeter
from deployments.mel.cpu_budget import CpuBudget
from deployments.mel.damage import Damage, decoded_frames, finite
from deployments.mel.declared import Declared
from deployments.mel.resampling import Channels, resampled
from deployments.mel.timeline import SHORTEST_HOLE_S, Timeline
from deployments.shared.errors import AudioTooLongError, InvalidAudioError
from deployments.shared.frames import SAMPLE_RATE

ODD_RATE = "The sample rate is not usual for audio. Export it with 16000 Hz."
ODD_CHANNELS = "The channels of the audio are arranged in an unusual way. Export it as mono."
CHANGES = "The number of channels changes within the file: leave `channels` out, or export the file again."

SAMPLE_RATES = range(4_000, 384_001)
MOST_SEPARATE = 2
"""Channels of the longest recording that may be kept apart; a shorter one may have more."""


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """What an upload may ask for.

    Attributes:
        max_seconds: longest decoded audio.
        max_channels: channels of the track.
        max_cpu_s: CPU seconds that decoding may take beyond what the length of the audio explains.
    """

    max_seconds: float
    max_channels: int
    max_cpu_s: float

    def check_length(self, seconds: float) -> None:
        """Refuse audio that is too long.

        Raises:
            AudioTooLongError: it is.
        """
        if seconds > self.max_seconds:
            message = f"The audio is longer than {self.max_seconds:g} seconds. Split it into shorter files."
            raise AudioTooLongError(message, param="file")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one upload may take, and who hears how far it has come.

    Attributes:
        limits: enforced while decoding, so a small file never grows into a large array.
        budget: CPU time.
        progressed: called after each second of audio.
    """

    limits: AudioLimits
    budget: CpuBudget
    progressed: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded upload.

    Attributes:
        pcm: ``[n_channels, n_samples]``, 16 kHz, perhaps read-only; one channel unless they were to be kept separate.
        warnings: what of it could not be read, in whole sentences for the client.
    """

    pcm: NDArray[np.int16]
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Its length."""
        return float(self.pcm.shape[1]) / SAMPLE_RATE

    @property
    def mono(self) -> NDArray[np.int16]:
        """The only channel: ``[n_samples]``."""
        return self.pcm.reshape(-1)


class TrackDecoder:
    """Decodes one track, once.

    Args:
        source: the upload.
        container: the same, opened, at its start.
        stream: the track.
        allowance: of the upload.
        channels: which are heard.

    Attributes:
        meter: has measured the channels once the track is decoded.
    """

    def __init__(
        self,
        source: BinaryIO,
        container: InputContainer,
        stream: AudioStream,
        allowance: Allowance,
        channels: Channels,
    ) -> None:
        stream.codec_context.thread_count = 1
        self.meter = StereoMeter()
        self._source = source
        self._container = container
        self._stream = stream
        self._limits = allowance.limits
        self._budget = allowance.budget
        self._progressed = allowance.progressed
        self._channels = channels
        self._timeline = Timeline.of(container, allowance.limits.max_seconds)
        self._damage = Damage()
        self._seconds = 0.0
        self._n_channels = 0

    def decode(self, declared: Declared) -> Recording:
        """Decode the track to 16 kHz: perhaps no sample.

        Raises:
            InvalidAudioError: it cannot be resampled, or its channels change although they are to be kept separate.
            AudioTooLongError: longer than ``max_seconds``.
            AudioTooSlowError: more CPU time than ``max_cpu_s`` and the length of the audio explain.
        """
        self._limits.check_length(declared.seconds or 0.0)
        pcm = bytearray()
        try:
            for frame in resampled(self._frames(), self._channels):
                pcm += memoryview(frame.planes[0])[: 2 * frame.samples * frame.layout.nb_channels]
        except av.FFmpegError as error:
            raise InvalidAudioError(ODD_CHANNELS, param="file") from error
        self._compare(declared)
        if not pcm and self._seconds:
            pcm = bytearray(2)  # a few samples, which the resampler swallows, are a recording in which nothing is said
        n_channels = self._n_channels if self._channels == "all" else 1
        samples = np.frombuffer(pcm, np.int16).reshape(-1, n_channels or 1).T
        return Recording(np.ascontiguousarray(samples), self._damage.sentences(self._timeline.holes))

    def _frames(self) -> Iterator[AudioFrame]:
        clock = ByteClock(self._source) if self._container.format.name in CLOCKLESS else None
        # First of all: what makes frames of silence, or measures channels, trusts their number.
        frames = self._usual(decoded_frames(self._packets(), self._timeline, self._damage, clock))
        if self._stream.codec_context.name.startswith("pcm_f"):
            frames = finite(frames)
        return self._limited(self._timeline.place(self.meter.measure(frames), self._stream))

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        """Yield the packets of the track, as long as decoding is not too slow, up to where the file cannot be read.

        Packets of other tracks, for example of a video, are read too, so their time counts.
        """
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                self._damage.cut(self._timeline.end_s)
                return
            except IndexError:  # PyAV at the very end of a file in which another track began late, as in flv and mpeg
                return
            if packet is None:
                return
            self._budget.check()
            if packet.stream.index == self._stream.index:
                yield cast("Packet[AudioStream]", packet)

    def _usual(self, frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
        for frame in frames:
            self._check(frame)
            yield frame

    def _limited(self, frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
        for frame in frames:
            before = int(self._seconds)
            self._seconds += frame.samples / frame.sample_rate
            self._budget.audio_s += frame.samples / frame.sample_rate
            self._limits.check_length(self._seconds)
            if int(self._seconds) > before:
                self._progressed()
            yield frame

    def _check(self, frame: AudioFrame) -> None:
        channels = frame.layout.nb_channels
        if frame.sample_rate not in SAMPLE_RATES:
            raise InvalidAudioError(ODD_RATE, param="file")
        if channels > self._limits.max_channels:
            message = f"The audio has more than {self._limits.max_channels} channels. Mix it down to mono."
            raise InvalidAudioError(message, param="file")
        if self._channels != "all":
            return
        self._n_channels = self._n_channels or channels
        if channels != self._n_channels:
            raise InvalidAudioError(CHANGES, param="channels")
        self._limits.check_length(self._seconds * channels / MOST_SEPARATE)

    def _compare(self, declared: Declared) -> None:
        """Note where the sound ends earlier than the file says."""
        end_s = self._timeline.end_s
        if not end_s:
            return
        start_s = float((self._stream.start_time or 0) * (self._stream.time_base or 0)) - self._timeline.origin_s
        if declared.seconds is not None and start_s + declared.seconds > end_s + SHORTEST_HOLE_S:
            self._damage.cut(end_s, start_s + declared.seconds)
        elif not declared.is_complete:
            self._damage.cut(end_s)
