"""Drives one request through the graph: audio -> windows -> log-mel -> encoder states -> text, window by window.

Knows no Ray: the stages are whatever implements ``Stages``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from deployments.contracts import (
    ArrayRef,
    BlobRef,
    DecodedWindow,
    DecodeOptions,
    EncodedWindow,
    EncoderHealth,
    PreparedAudio,
    SpeechOptions,
    StageName,
    StageProgress,
    StageTiming,
    Ticket,
    Transcript,
    Window,
    WindowMel,
)
from deployments.request_record import QUEUE, Costs, Step
from deployments.scheduling.admission import Admission, Entry, Lease, Priority
from deployments.scheduling.retries import RetryBudget
from deployments.scheduling.stage_calls import StageCalls
from deployments.statistics import Statistics

T = TypeVar("T", PreparedAudio, WindowMel, EncodedWindow, DecodedWindow)


class Stages(Protocol):
    """The graph, as calls. Each raises the typed errors of ``deployments.errors``."""

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        """Decodes the upload, finds the windows, computes the first one's log-mel."""
        ...

    async def log_mel(self, ticket: Ticket, pcm: BlobRef, window: Window) -> WindowMel:
        """Computes a later window's log-mel."""
        ...

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        """Runs the encoder on one window's log-mel."""
        ...

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        """Generates the text of one window."""
        ...

    async def encoder_health(self) -> EncoderHealth:
        """What the encoder says of its device: proof that it answers."""
        ...

    async def progress(self, stage: StageName) -> StageProgress:
        """Whether a stage that has finished nothing for a while gets on with what it works on."""
        ...


@dataclass(frozen=True, slots=True)
class Budgets:
    """Seconds without anything finished after which each stage is asked whether it hangs."""

    mel_s: float
    encoder_s: float
    decoder_s: float


@dataclass(frozen=True, slots=True)
class Job:
    """One request, parsed and validated.

    Attributes:
        deadline: absolute, seconds since the epoch.
        detect_language: take the first window's language for all windows.
        costs: are added up here.
    """

    request_id: str
    upload: BlobRef
    speech: SpeechOptions
    decode: DecodeOptions
    priority: Priority
    deadline: float
    detect_language: bool
    costs: Costs = field(default_factory=Costs)


@dataclass(frozen=True, slots=True)
class AudioReady:
    """Comes first: what the audio holds."""

    duration_s: float
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class WindowDone:
    """Comes once a window, in order: its text and the device that encoded it."""

    window: Window
    transcript: Transcript
    encoder_device: str


class Pipeline:
    """Schedules windows onto slots and stages. One an ingress; safe for any number of concurrent requests."""

    def __init__(
        self,
        stages: Stages,
        admission: Admission,
        statistics: Statistics,
        *,
        budgets: Budgets,
        max_windows_in_flight: int,
        slab_path: str | None,
    ) -> None:
        self._stages = stages
        self._admission = admission
        self.retries = RetryBudget()
        self.mel = StageCalls(statistics.mel, budgets.mel_s, self.retries, lambda: stages.progress("mel"))
        self.encoder = StageCalls(
            statistics.encoder, budgets.encoder_s, self.retries, lambda: stages.progress("encoder")
        )
        self.decoder = StageCalls(
            statistics.decoder, budgets.decoder_s, self.retries, lambda: stages.progress("decoder")
        )
        self._max_windows_in_flight = max_windows_in_flight
        self._slab_path = slab_path

    @property
    def stage_calls(self) -> tuple[StageCalls, StageCalls, StageCalls]:
        """Of the three stages, in their order."""
        return self.mel, self.encoder, self.decoder

    def set_budgets(self, budgets: Budgets) -> None:
        """For all calls from now on."""
        self.mel.budget_s = budgets.mel_s
        self.encoder.budget_s = budgets.encoder_s
        self.decoder.budget_s = budgets.decoder_s

    async def run(self, job: Job, entry: Entry) -> AsyncGenerator[AudioReady | WindowDone]:
        """Yields ``AudioReady``, then each window's text in order, each as soon as it and all before it are known.

        Raises:
            DeadlineExceededError: no slot, or no text, in time.
            AmanuensisError: what a stage raised.
        """
        lease = await self._slot(job, 0, entry)
        job.costs.queue_s = entry.waited_s
        try:
            ticket = self._ticket(job, lease)
            prepared = await self._call(
                self.mel, job, lease, 0, lambda: self._stages.prepare(ticket, job.upload, job.speech), begun=False
            )
            job.costs.audio_s, job.costs.windows = prepared.duration_s, len(prepared.windows)
            yield AudioReady(prepared.duration_s, prepared.windows)
            if prepared.first is None:
                return
            first = asyncio.create_task(self._first_window(job, lease, prepared))
            async with aclosing(self._windows(job, prepared, first)) as results:
                async for result in results:
                    yield result
        finally:
            lease.close()

    async def _windows(
        self, job: Job, prepared: PreparedAudio, first: asyncio.Task[WindowDone]
    ) -> AsyncGenerator[WindowDone]:
        """At most ``max_windows_in_flight`` windows are begun and not yet yielded, so a slow reader holds no slots."""
        begun: deque[asyncio.Task[WindowDone]] = deque([first])
        remaining = iter(prepared.windows[1:])
        try:
            if job.detect_language:
                result = await begun[0]
                job = replace(job, decode=replace(job.decode, language=result.transcript.language))
            for window in remaining:
                begun.append(asyncio.create_task(self._later_window(job, prepared, window)))
                if len(begun) >= self._max_windows_in_flight:
                    yield await begun[0]
                    begun.popleft()
            while begun:
                yield await begun[0]
                begun.popleft()
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def _first_window(self, job: Job, lease: Lease, prepared: PreparedAudio) -> WindowDone:
        if prepared.first is None:
            raise ValueError("audio without speech has no first window")
        try:
            return await self._encode_and_decode(job, lease, prepared.windows[0], prepared.first, prepared.pcm)
        finally:
            lease.close()

    async def _later_window(self, job: Job, prepared: PreparedAudio, window: Window) -> WindowDone:
        if prepared.pcm is None:
            raise ValueError("a later window needs the decoded audio")
        lease = await self._slot(job, window.index)
        try:
            ticket, pcm = self._ticket(job, lease), prepared.pcm
            mel = await self._call(
                self.mel, job, lease, window.index, lambda: self._stages.log_mel(ticket, pcm, window)
            )
            return await self._encode_and_decode(job, lease, window, mel.log_mel, pcm)
        finally:
            lease.close()

    async def _encode_and_decode(
        self, job: Job, lease: Lease, window: Window, log_mel: ArrayRef, pcm: BlobRef | None
    ) -> WindowDone:
        ticket = self._ticket(job, lease)
        encoded = await self._call(self.encoder, job, lease, window.index, lambda: self._stages.encode(ticket, log_mel))
        job.costs.device = encoded.timing.device
        decoded = await self._call(
            self.decoder,
            job,
            lease,
            window.index,
            lambda: self._stages.decode(ticket, encoded.states, window, job.decode, pcm),
        )
        return WindowDone(window, decoded.transcript, encoded.timing.device)

    async def _slot(self, job: Job, window: int, entry: Entry | None = None) -> Lease:
        """A slot for the window; the wait for it is a step of the request, also when it is in vain."""
        received, began = time.time(), time.monotonic()
        try:
            return await self._admission.acquire(job.priority, job.deadline, entry)
        finally:
            job.costs.steps.append(Step(QUEUE, window, received, time.monotonic() - began))

    @staticmethod
    async def _call(
        stage: StageCalls,
        job: Job,
        lease: Lease,
        window: int,
        call: Callable[[], Coroutine[Any, Any, T]],
        *,
        begun: bool = True,
    ) -> T:
        """The result of the stage's call, which is charged to the request, also when it fails.

        Args:
            begun: something has been done for the request, so that it waits for a stage that is left alone for now.
        """
        costs, name = job.costs, stage.statistics.name
        received, began, attempts = time.time(), time.monotonic(), 0
        timing: StageTiming | None = None

        def attempt() -> Coroutine[Any, Any, T]:
            nonlocal attempts
            attempts += 1
            return call()

        try:
            result = await stage(lease, job.deadline, attempt, patient=begun)
            timing = result.timing
            return result
        finally:
            seconds = time.monotonic() - began
            costs.stage_s[name] = costs.stage_s.get(name, 0.0) + seconds
            costs.retries += max(0, attempts - 1)
            costs.steps.append(Step(name, window, received, seconds, attempts, timing))

    def _ticket(self, job: Job, lease: Lease) -> Ticket:
        return Ticket(job.request_id, lease.slot, lease.generation, job.deadline, self._slab_path, job.priority)
