"""MelPreprocessor: the first stage of the graph. Uploaded bytes -> windows of speech -> log-mel in the slot."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from ray import serve

from deployments.mel.decoding import decode
from deployments.mel.log_mel import log_mel
from deployments.mel.track_decoding import AudioLimits
from deployments.mel.windows import find_windows, windows_of_channels
from deployments.shared.contracts import (
    Area,
    ArrayRef,
    AudioOptions,
    BlobRef,
    DecodedVoice,
    PreparedAudio,
    SpeechOptions,
    StageProgress,
    StageTiming,
    Ticket,
    Window,
    WindowMel,
)
from deployments.shared.cpu_priority import give_way_to_ingress
from deployments.shared.errors import AudioTooLongError, AudioTooSlowError, InvalidAudioError
from deployments.shared.frames import N_FRAMES, SAMPLE_RATE, frames_for
from deployments.shared.lanes import Lanes
from deployments.shared.memory.handoff import Handoff, load_pcm, open_upload
from deployments.shared.model.description import Model
from deployments.shared.replica_name import replica_name
from deployments.shared.settings import Settings
from deployments.shared.threads import WatchedThreads
from deployments.shared.watchdog import ProgressWatch

DEVICE = "cpu"
MAX_CPU_S = 2.0
"""CPU seconds that decoding may take beyond what the length of the audio explains."""

SHORT_S = 120.0
"""Seconds of audio after which an upload is no longer taken for a short one.

It then starts again among the long ones. That costs a thirtieth of the decoding of an hour, and no file has to be
believed about its length.
"""

LEAST_VOICE_S, MOST_VOICE_S = 2.0, 10.0
VOICE_LENGTH = f"{LEAST_VOICE_S:g} to {MOST_VOICE_S:g} s of speech by one person"

ENCODER_PADDING_S = 0.2
"""What audio formats add at the ends of a recording."""

LISTENING_PER_SECOND = 0.02
"""Seconds that the voice detection may take per second of audio; on an idle core it takes a twentieth of that."""

SLACK = 5.0
"""How many times slower than the slowest step seen the next one may be: other processes need the cores too."""


@serve.deployment
class MelPreprocessor:
    """A replica on the CPU with a few threads, one of which never works on a long file, so that short files pass."""

    def __init__(self, settings: Settings, model: Model) -> None:
        give_way_to_ingress()
        self._limits = AudioLimits(settings.max_audio_s, settings.max_channels, MAX_CPU_S)
        self._short = replace(self._limits, max_seconds=min(SHORT_S, settings.max_audio_s))
        self._voices = replace(self._limits, max_seconds=MOST_VOICE_S + ENCODER_PADDING_S)
        self._n_mels = model.dimensions.n_mels
        self._buckets = model.frame_buckets
        self._handoff = Handoff()
        self._watch = ProgressWatch(settings.mel_budget_s, SLACK)
        self._lanes = Lanes(WatchedThreads(settings.mel_threads, "mel", self._watch), settings.mel_threads)
        self._watch.learn(0.0)
        self._replica = replica_name()
        self._warm_up()

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        """Decode an upload, find its windows, and compute the log-mel of the first one.

        Raises:
            InvalidAudioError, AudioTooLongError: the upload is at fault.
        """
        asked = time.monotonic()
        try:
            return await self._lanes(
                lambda: self._prepare(ticket, upload, options, self._short, asked), ticket.priority
            )
        except AudioTooSlowError:
            raise
        except AudioTooLongError:
            if self._short == self._limits:
                raise
        return await self._lanes(
            lambda: self._prepare(ticket, upload, options, self._limits, asked), ticket.priority, is_long=True
        )

    async def log_mel(self, ticket: Ticket, pcm: BlobRef, window: Window) -> WindowMel:
        """Compute the log-mel of a later window from the audio that ``prepare`` kept."""
        asked = time.monotonic()
        return await self._lanes(lambda: self._later(ticket, pcm, window, asked), ticket.priority)

    async def decode_voice(self, ticket: Ticket, recording: BlobRef) -> DecodedVoice:
        """Decode a recording of one voice.

        Raises:
            InvalidAudioError, AudioTooLongError: the recording is at fault.
        """
        asked = time.monotonic()
        return await self._lanes(lambda: self._voice(ticket, recording, asked), ticket.priority)

    async def progress(self) -> StageProgress:
        """Return whether the work of this replica makes progress."""
        return self._watch.progress()

    async def check_health(self) -> None:
        """Raise an error when a thread hangs, so that Serve replaces this replica."""
        self._handoff.drop_slab_if_gone()
        self._watch.check_progress()

    def _prepare(
        self, ticket: Ticket, upload: BlobRef, options: SpeechOptions, limits: AudioLimits, asked: float
    ) -> PreparedAudio:
        began = time.monotonic()
        self._handoff.check_ticket(ticket)
        with self._watch.work() as work:
            with open_upload(upload) as file:
                recording = decode(file, limits, work.progressed, options.audio)
            pcm = recording.pcm.reshape(-1)
            work.progressed(allowance_s=LISTENING_PER_SECOND * len(pcm) / SAMPLE_RATE)
            windows = windows_of_channels(recording.pcm, options)
            work.progressed()
            first = self._write(ticket, pcm[windows[0].samples], self._buckets) if windows else None
            kept = self._handoff.store_pcm(ticket, upload, pcm) if windows else None
        timing = self._timing(began - asked, began)
        channels = len(recording.pcm)
        return PreparedAudio(recording.seconds, windows, kept, first, timing, recording.warnings, channels)

    def _later(self, ticket: Ticket, pcm: BlobRef, window: Window, asked: float) -> WindowMel:
        began = time.monotonic()
        self._handoff.check_ticket(ticket)
        with self._watch.work():
            log_mel = self._write(ticket, load_pcm(pcm, window.samples), self._buckets_for(window))
        return WindowMel(log_mel, self._timing(began - asked, began))

    def _voice(self, ticket: Ticket, recording: BlobRef, asked: float) -> DecodedVoice:
        began = time.monotonic()
        self._handoff.check_ticket(ticket)
        with self._watch.work() as work, open_upload(recording) as file:
            decoded = decode(file, self._voices, work.progressed, AudioOptions())
        if decoded.seconds < LEAST_VOICE_S:
            raise InvalidAudioError(f"The recording has {decoded.seconds:.1f} s; send {VOICE_LENGTH}")
        pcm = decoded.pcm.reshape(-1)
        kept = self._handoff.store_pcm(ticket, recording, pcm)
        return DecodedVoice(kept, len(pcm), self._timing(began - asked, began))

    def _buckets_for(self, window: Window) -> tuple[int, ...]:
        return (N_FRAMES,) if window.in_full else self._buckets

    def _write(self, ticket: Ticket, samples: NDArray[np.int16], buckets: tuple[int, ...]) -> ArrayRef:
        shape = (self._n_mels, frames_for(len(samples), buckets))
        with self._handoff.output(ticket, Area.LOG_MEL, shape) as array:
            log_mel(samples, array)
            return self._handoff.publish(ticket, Area.LOG_MEL, array)

    def _timing(self, queue_s: float, began: float) -> StageTiming:
        return StageTiming(queue_s, time.monotonic() - began, 1, self._replica, DEVICE)

    def _warm_up(self) -> None:
        """Load the voice detection and the mel filters now, not in the first request."""
        second = np.zeros(SAMPLE_RATE, np.int16)
        find_windows(second, SpeechOptions(vad_filter=True, max_window_s=30.0))
        log_mel(second, np.empty((self._n_mels, frames_for(len(second), self._buckets)), np.float32))
