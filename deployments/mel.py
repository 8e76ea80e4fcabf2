"""MelPreprocessor: the first deployment of the graph. Bytes -> windows of speech -> log-mel in the slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from ray import serve

from deployments.audio import SAMPLE_RATE
from deployments.audio.decoding import AudioLimits, decode
from deployments.audio.frames import frames_for
from deployments.audio.log_mel import log_mel
from deployments.audio.speech import find_windows, window_samples
from deployments.contracts import (
    Area,
    ArrayRef,
    BlobRef,
    PreparedAudio,
    SpeechOptions,
    StageTiming,
    Ticket,
    Window,
    WindowMel,
)
from deployments.memory.handoff import Handoff, load_pcm, open_upload
from deployments.model import Model
from deployments.replica import give_way_to_ingress, replica_name
from deployments.settings import Settings

DEVICE = "cpu"
DECODING_SHARE = 0.8
"""Of the stage's budget: a file that takes longer is refused before the stage is found too slow."""

T = TypeVar("T")


@serve.deployment
class MelPreprocessor:
    """CPU replicas. A few threads each, so that a short file overtakes a long one inside a replica too."""

    def __init__(self, settings: Settings, model: Model) -> None:
        give_way_to_ingress()
        self._limits = AudioLimits(settings.max_audio_s, settings.max_channels, DECODING_SHARE * settings.mel_budget_s)
        self._n_mels = model.dimensions.n_mels
        self._buckets = model.frame_buckets
        self._handoff = Handoff()
        self._threads = ThreadPoolExecutor(settings.mel_threads, thread_name_prefix="mel")
        self._replica = replica_name()
        self._warm_up()

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        """Decodes an upload, finds its windows, computes the first one's log-mel.

        Raises:
            InvalidAudioError, AudioTooLongError: the upload is at fault.
        """
        return await self._in_thread(lambda queue_s: self._prepare(ticket, upload, options, queue_s))

    async def log_mel(self, ticket: Ticket, pcm: BlobRef, window: Window) -> WindowMel:
        """Computes the log-mel of a later window from the audio that ``prepare`` kept."""
        return await self._in_thread(lambda queue_s: self._later(ticket, pcm, window, queue_s))

    async def _in_thread(self, work: Callable[[float], T]) -> T:
        asked = time.monotonic()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(time.monotonic() - asked))

    def _prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions, queue_s: float) -> PreparedAudio:
        began = time.monotonic()
        self._handoff.check(ticket)
        with open_upload(upload) as file:
            pcm = decode(file, self._limits)
        windows = find_windows(pcm, options)
        first = self._write(ticket, window_samples(pcm, windows[0])) if windows else None
        kept = self._handoff.store_pcm(ticket, upload, pcm) if windows else None
        timing = self._timing(queue_s, began)
        return PreparedAudio(len(pcm) / SAMPLE_RATE, windows, kept, first, timing)

    def _later(self, ticket: Ticket, pcm: BlobRef, window: Window, queue_s: float) -> WindowMel:
        began = time.monotonic()
        self._handoff.check(ticket)
        samples = load_pcm(pcm, _sample(window.start_s), _sample(window.end_s))
        return WindowMel(self._write(ticket, samples), self._timing(queue_s, began))

    def _write(self, ticket: Ticket, samples: NDArray[np.int16]) -> ArrayRef:
        shape = (self._n_mels, frames_for(len(samples), self._buckets))
        with self._handoff.output(ticket, Area.LOG_MEL, shape) as array:
            log_mel(samples, array)
            return self._handoff.publish(ticket, Area.LOG_MEL, array)

    def _timing(self, queue_s: float, began: float) -> StageTiming:
        return StageTiming(queue_s, time.monotonic() - began, 1, self._replica, DEVICE)

    def _warm_up(self) -> None:
        """Loads the VAD model and the mel filters now, not in the first request."""
        second = np.zeros(SAMPLE_RATE, np.int16)
        find_windows(second, SpeechOptions(vad_filter=True, max_window_s=30.0))
        log_mel(second, np.empty((self._n_mels, frames_for(len(second), self._buckets)), np.float32))


def _sample(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
