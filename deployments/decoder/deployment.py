"""Decoder: the third stage of the graph. Encoder states in the slot -> text and word times. It never encodes."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from ray import serve

from deployments.decoder.alignment import PhonemeAligner
from deployments.decoder.batcher import LANES, UNFINISHED, NaturalBatcher, Outcome
from deployments.decoder.generation import TextGenerator
from deployments.decoder.language import Language
from deployments.decoder.steps import DecodeItem, Decoding
from deployments.shared.contracts import (
    ArrayRef,
    BlobRef,
    DecodedWindow,
    DecodeOptions,
    DetectedLanguage,
    StageProgress,
    StageTiming,
    Ticket,
    Window,
)
from deployments.shared.cpu_priority import give_way_to_ingress
from deployments.shared.errors import AmanuensisError
from deployments.shared.memory.allocator import keep_freed_memory
from deployments.shared.memory.handoff import Handoff, load_pcm
from deployments.shared.model.description import Model
from deployments.shared.replica_name import replica_name
from deployments.shared.settings import Settings
from deployments.shared.threads import WatchedThreads
from deployments.shared.watchdog import ProgressWatch

SLACK = 20.0
"""How many times slower than the slowest step seen the next one may be: a full batch of texts that run to the token
limit, in five beams, takes so much longer than a usual one."""


@dataclass(slots=True, eq=False)
class _Job:
    """One window in the replica.

    Attributes:
        asked: when it arrived, on the monotonic clock.
        detects: whether only its language is wanted.
        decoding: None until its slot has been opened.
        run_s: seconds of all batches it was in.
        together: windows in the largest of these batches, itself included.
    """

    ticket: Ticket
    states: ArrayRef
    window: Window
    options: DecodeOptions
    pcm: BlobRef | None
    asked: float
    detects: bool = False
    decoding: Decoding | None = None
    run_s: float = 0.0
    together: int = 1

    @property
    def priority(self) -> int:
        return self.ticket.priority

    @property
    def kind(self) -> Hashable:
        return None if self.decoding is None else self.decoding.step

    @property
    def is_done(self) -> bool:
        if self.decoding is None:
            return False
        return (self.decoding.language if self.detects else self.decoding.transcript) is not None

    @property
    def language(self) -> Language | None:
        return None if self.decoding is None else self.decoding.language


@serve.deployment
class Decoder:
    """A replica on the CPU. Windows that wait for the same kind of work while a batch runs are the next batch."""

    def __init__(self, settings: Settings, model: Model) -> None:
        give_way_to_ingress()
        keep_freed_memory()
        self._generator = TextGenerator(
            model.path,
            device=settings.ctranslate2_device,
            compute_type=settings.compute_type,
            threads=settings.decoder_threads,
            fallback_temperatures=settings.fallback_temperatures,
            full_states=None if model.silence is None else model.dimensions.n_audio_ctx,
        )
        self._aligner = PhonemeAligner(settings.align_model, settings.align_language) if settings.align_model else None
        self._handoff = Handoff()
        self._watch = ProgressWatch(settings.decoder_budget_s, SLACK)
        self._batcher: NaturalBatcher[_Job, _Job] = NaturalBatcher(
            self._run_watched, settings.decoder_batch_size, WatchedThreads(LANES, "decoder", self._watch)
        )
        self._replica = replica_name()

    async def progress(self) -> StageProgress:
        """Return whether the work of this replica makes progress."""
        return self._watch.progress()

    async def check_health(self) -> None:
        """Raise an error when the decoder hangs, so that Serve replaces this replica."""
        self._handoff.drop_slab_if_gone()
        self._watch.check_progress()

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        """Generate the text of one window, together with other windows that wait."""
        job = await self._batcher(_Job(ticket, states, window, options, pcm, time.monotonic()))
        if job.decoding is None or job.decoding.transcript is None:
            raise ValueError("The window left the batches without a transcript")
        return DecodedWindow(job.decoding.transcript, self._timing(job))

    async def detect_language(
        self, ticket: Ticket, states: ArrayRef, window: Window, among: tuple[str, ...]
    ) -> DetectedLanguage:
        """Detect the language of one window, together with other windows that wait for the same."""
        asked, options = time.monotonic(), DecodeOptions(among=among)
        job = await self._batcher(_Job(ticket, states, window, options, None, asked, detects=True))
        if job.language is None:
            raise ValueError("The window left the batches without a language")
        return DetectedLanguage(job.language.code, job.language.probability, self._timing(job))

    def _run_watched(self, jobs: Sequence[_Job]) -> list[Outcome[_Job]]:
        with self._watch.work() as work:
            results = self._run(jobs)
            work.progressed()
        return results

    def _run(self, jobs: Sequence[_Job]) -> list[Outcome[_Job]]:
        """Take the next step of each job, except for jobs that nobody waits for any more."""
        began = time.monotonic()
        with ExitStack() as reading:
            refusals = [self._refusal(job, reading) for job in jobs]
            ready = [job for job, refusal in zip(jobs, refusals, strict=True) if refusal is None and not job.is_done]
            self._advance(ready)
        run_s = time.monotonic() - began
        for job in ready:
            job.run_s += run_s
            job.together = max(job.together, len(ready))
        return [refusal or self._outcome(job) for job, refusal in zip(jobs, refusals, strict=True)]

    def _refusal(self, job: _Job, reading: ExitStack) -> AmanuensisError | None:
        """Return why a job is not worked on; None if its slot can be read as long as ``reading`` lasts."""
        try:
            reading.enter_context(self._handoff.reading(job.ticket))
        except AmanuensisError as error:
            return error
        return None

    def _advance(self, jobs: Sequence[_Job]) -> None:
        begun = [job.decoding for job in jobs if job.decoding is not None]
        if begun:
            self._generator.advance(begun)
            return
        for job in jobs:
            states = self._handoff.input(job.ticket, job.states)
            job.decoding = self._generator.begin(DecodeItem(states, job.window, job.options))

    def _outcome(self, job: _Job) -> Outcome[_Job]:
        if not job.is_done:
            return UNFINISHED
        try:
            self._handoff.check_ticket(job.ticket)
        except AmanuensisError as error:
            return error
        self._align_phonemes(job)
        return job

    def _align_phonemes(self, job: _Job) -> None:
        """Replace the word times by those of WhisperX's aligner, where it is configured and knows the language."""
        aligner, decoding = self._aligner, job.decoding
        if aligner is None or job.pcm is None or not job.options.word_times:
            return
        if decoding is None or decoding.transcript is None or decoding.transcript.language != aligner.language:
            return
        words = aligner.align(load_pcm(job.pcm, job.window.samples), job.window, decoding.transcript)
        decoding.transcript = replace(decoding.transcript, words=words)

    def _timing(self, job: _Job) -> StageTiming:
        queue_s = time.monotonic() - job.asked - job.run_s
        return StageTiming(queue_s, job.run_s, job.together, self._replica, self._generator.device)
