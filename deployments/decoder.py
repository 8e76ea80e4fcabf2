"""Decoder: the third deployment of the graph. Encoder states in the slot -> text, word times. Never encodes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from ray import serve

from deployments.audio import SAMPLE_RATE
from deployments.contracts import (
    ArrayRef,
    BlobRef,
    DecodedWindow,
    DecodeOptions,
    StageProgress,
    StageTiming,
    Ticket,
    Transcript,
    Window,
)
from deployments.errors import AmanuensisError
from deployments.memory.handoff import Handoff, load_pcm
from deployments.model import Model
from deployments.replica import give_way_to_ingress, replica_name
from deployments.scheduling.batcher import NaturalBatcher
from deployments.scheduling.watchdog import ProgressWatch
from deployments.settings import Settings
from deployments.text.alignment import PhonemeAligner
from deployments.text.generation import DecodeItem, TextGenerator

SLACK = 20.0
"""A full batch of texts that run to the token limit, in five beams, takes so many times longer than a usual one."""


@dataclass(frozen=True, slots=True)
class _Job:
    ticket: Ticket
    states: ArrayRef
    window: Window
    options: DecodeOptions
    pcm: BlobRef | None
    asked: float


@serve.deployment
class Decoder:
    """CPU replicas. Windows that wait while a batch runs are the next batch."""

    def __init__(self, settings: Settings, model: Model) -> None:
        give_way_to_ingress()
        self._generator = TextGenerator(
            model.path,
            compute_type=settings.compute_type,
            threads=settings.decoder_threads,
            fallback_temperatures=settings.fallback_temperatures,
        )
        self._aligner = PhonemeAligner(settings.align_model, settings.align_language) if settings.align_model else None
        self._handoff = Handoff()
        self._batcher: NaturalBatcher[_Job, DecodedWindow] = NaturalBatcher(
            self._run_watched, settings.decoder_batch_size, ThreadPoolExecutor(1, thread_name_prefix="decoder")
        )
        self._watch = ProgressWatch(settings.decoder_budget_s, SLACK)
        self._replica = replica_name()

    async def progress(self) -> StageProgress:
        """Whether the batches here get on."""
        return self._watch.progress()

    async def check_health(self) -> None:
        """Raise when the decoder hangs, so that Serve replaces this replica."""
        self._watch.check()

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        """Generates the text of one window, together with whatever other windows wait."""
        return await self._batcher(_Job(ticket, states, window, options, pcm, time.monotonic()))

    def _run_watched(self, jobs: Sequence[_Job]) -> list[DecodedWindow | Exception]:
        with self._watch.work() as work:
            results = self._run(jobs)
            work.progressed()
        return results

    def _run(self, jobs: Sequence[_Job]) -> list[DecodedWindow | Exception]:
        began = time.monotonic()
        opened = [self._open(job) for job in jobs]
        ready = [item for item in opened if isinstance(item, DecodeItem)]
        transcripts = iter(self._generator.generate(ready))
        texts = [next(transcripts) if isinstance(item, DecodeItem) else item for item in opened]
        run_s = time.monotonic() - began
        return [self._finish(job, text, began, run_s, len(ready)) for job, text in zip(jobs, texts, strict=True)]

    def _open(self, job: _Job) -> DecodeItem | AmanuensisError:
        try:
            self._handoff.check(job.ticket)
            self._generator.check(job.options)
            return DecodeItem(self._handoff.input(job.ticket, job.states), job.window, job.options)
        except AmanuensisError as error:
            return error

    def _finish(
        self, job: _Job, text: Transcript | AmanuensisError, began: float, run_s: float, batch: int
    ) -> DecodedWindow | Exception:
        if isinstance(text, AmanuensisError):
            return text
        try:
            self._handoff.check(job.ticket)
        except AmanuensisError as error:
            return error
        timing = StageTiming(began - job.asked, run_s, batch, self._replica, self._generator.device)
        return DecodedWindow(self._with_words(job, text), timing)

    def _with_words(self, job: _Job, text: Transcript) -> Transcript:
        """Word times from WhisperX's aligner where it is configured and knows the language."""
        aligner = self._aligner
        if aligner is None or job.pcm is None or not job.options.word_times or text.language != aligner.language:
            return text
        start, stop = (round(seconds * SAMPLE_RATE) for seconds in (job.window.start_s, job.window.end_s))
        return replace(text, words=aligner.align(load_pcm(job.pcm, start, stop), job.window, text))
