"""Drives one request through the graph: audio -> windows -> log-mel -> encoder states -> text, window by window.

Knows no Ray: the stages are whatever implements ``Stages``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from deployments.ingress.scheduling.admission import Admission, Entry, Lease, Priority, Rest
from deployments.ingress.scheduling.retries import RetryBudget
from deployments.ingress.scheduling.stage_calls import StageCalls
from deployments.ingress.scheduling.time_limit import TimeLimit
from deployments.ingress.scheduling.window_languages import WindowLanguages
from deployments.ingress.telemetry.record import QUEUE, Costs, Step
from deployments.ingress.telemetry.statistics import Statistics
from deployments.ingress.transcript.joining import join_transcripts, rest_of
from deployments.ingress.transcript.language_choice import LanguageChoice, choose_language
from deployments.ingress.transcript.placing import place_words
from deployments.shared.contracts import (
    ArrayRef,
    BlobRef,
    DecodedWindow,
    DecodeOptions,
    DetectedLanguage,
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

MAX_RESTS = 6
"""Rests of one window that are decoded at most: 30 s of fast Tamil need three, each pause may need one."""

T = TypeVar("T", PreparedAudio, WindowMel, EncodedWindow, DetectedLanguage, DecodedWindow)

ChooseOptions = Callable[[Lease, ArrayRef], Awaitable[DecodeOptions]]
"""What to decode a window with, once its encoder states lie in the slot of the lease."""


class Stages(Protocol):
    """The graph, as calls. Each raises the typed errors of ``deployments.shared.errors``."""

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        """Decodes the upload, finds the windows, computes the first one's log-mel."""
        ...

    async def log_mel(self, ticket: Ticket, pcm: BlobRef, window: Window) -> WindowMel:
        """Computes a later window's log-mel."""
        ...

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        """Runs the encoder on one window's log-mel."""
        ...

    async def detect_language(self, ticket: Ticket, states: ArrayRef, window: Window) -> DetectedLanguage:
        """Finds the likeliest language of one window."""
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
        deadline: absolute, seconds since the epoch; as far as is known before the audio is decoded.
        time_limit: from which the deadline follows once it is; None where the deadline is fixed.
        detect_language: nobody named the language; see ``deployments.ingress.transcript.language_choice``.
        rest: windows that have not asked for a slot; None before they are known.
        costs: are added up here.
    """

    request_id: str
    upload: BlobRef
    speech: SpeechOptions
    decode: DecodeOptions
    priority: Priority
    deadline: float
    detect_language: bool
    time_limit: TimeLimit | None = None
    rest: Rest | None = None
    costs: Costs = field(default_factory=Costs)


@dataclass(frozen=True, slots=True)
class AudioReady:
    """Comes first: what the audio holds."""

    duration_s: float
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class WindowDone:
    """Comes once per window, in order: its whole text, word times inside it, and the device that encoded it."""

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
            job = self._begun(job, prepared)
            yield AudioReady(prepared.duration_s, prepared.windows)
            if prepared.first is None:
                return
            several = len(prepared.windows) > 1
            languages = WindowLanguages(len(prepared.windows)) if job.detect_language and several else None
            async with aclosing(self._windows(job, prepared, lease, languages)) as results:
                async for result in results:
                    yield result
        finally:
            lease.close()
            if job.rest is not None:
                self._admission.end(job.rest)

    def _begun(self, job: Job, prepared: PreparedAudio) -> Job:
        """Return the job with the deadline that its audio gives it, if that can be kept.

        Raises:
            TimeoutTooShortError, OverloadedError: it cannot.
        """
        deadline = job.deadline if job.time_limit is None else job.time_limit.deadline(prepared.duration_s)
        windows = len(prepared.windows)
        turn = min(windows, self._max_windows_in_flight)
        rest = self._admission.begin(job.priority, windows, turn, deadline)
        return replace(job, deadline=deadline, rest=rest)

    def _yielding(self, job: Job, window: Window) -> Job:
        """Return the job as this window is served: after its first turn a long file yields to who has had none."""
        in_turn = window.index < self._max_windows_in_flight
        return job if in_turn else replace(job, priority=job.priority.lower)

    async def _windows(
        self, job: Job, prepared: PreparedAudio, first: Lease, languages: WindowLanguages | None
    ) -> AsyncGenerator[WindowDone]:
        """At most ``max_windows_in_flight`` windows are begun and not yet yielded, so a slow reader holds no slots.

        Args:
            job: the request.
            prepared: its audio.
            first: of the slot that holds the first window's log-mel.
            languages: of its windows; None where one is named, or one window is all.
        """
        begun: deque[asyncio.Task[WindowDone]] = deque()
        try:
            for window in prepared.windows:
                lease = None if window.index else first
                begun.append(asyncio.create_task(self._whole_window(job, prepared, window, languages, lease)))
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

    async def _whole_window(
        self,
        job: Job,
        prepared: PreparedAudio,
        window: Window,
        languages: WindowLanguages | None,
        lease: Lease | None,
    ) -> WindowDone:
        """The text of one window, and of what that text left out."""
        job = self._yielding(job, window)
        lease = lease or await self._slot(job, window.index)
        begun = await self._piece(job, prepared, window, partial(self._options, job, window, languages), lease)
        language = begun.transcript.language
        parts, rest = [begun.transcript], rest_of(window, begun.transcript)
        while rest is not None and len(parts) <= MAX_RESTS:
            lease = await self._slot(job, rest.index, is_rest=True)
            piece = await self._piece(job, prepared, rest, partial(self._options_of_rest, job, rest, language), lease)
            if not piece.transcript.text:
                break
            parts.append(piece.transcript)
            rest = rest_of(rest, piece.transcript)
        transcript = join_transcripts(parts)
        words = place_words(transcript.words, window.start_s, window.end_s)
        return replace(begun, transcript=replace(transcript, words=words))

    async def _piece(
        self, job: Job, prepared: PreparedAudio, window: Window, options: ChooseOptions, lease: Lease
    ) -> WindowDone:
        """The text of a window, or of the rest of one, in a slot of its own: a late call for the one never meets the
        other's arrays.
        """
        try:
            log_mel = await self._log_mel(job, lease, window, prepared)
            encoded = await self._encode(job, lease, window, log_mel)
            chosen = await options(lease, encoded.states)
            transcript = await self._decode(job, lease, window, encoded.states, chosen, prepared.pcm)
            return WindowDone(window, transcript, encoded.timing.device)
        finally:
            lease.close()

    async def _options(
        self, job: Job, window: Window, languages: WindowLanguages | None, lease: Lease, states: ArrayRef
    ) -> DecodeOptions:
        """What to decode a window with. A window alone is not asked for its language first: decoding finds it."""
        if languages is None:
            return job.decode
        if window.speech == ():
            return _in_language(job.decode, await languages.choose_for_silence(window.index))
        choice = await languages.choose(window.index, lambda: self._detect(job, lease, window, states))
        return _in_language(job.decode, choice)

    async def _options_of_rest(
        self, job: Job, rest: Window, language: str, lease: Lease, states: ArrayRef
    ) -> DecodeOptions:
        """What to decode a rest with: perhaps there is one because the speaker went on in another language."""
        if not job.detect_language:
            return job.decode
        detected = await self._detect(job, lease, rest, states)
        return _in_language(job.decode, choose_language(detected, language))

    async def _detect(self, job: Job, lease: Lease, window: Window, states: ArrayRef) -> DetectedLanguage:
        ticket = self._ticket(job, lease)
        return await self._call(
            self.decoder, job, lease, window.index, lambda: self._stages.detect_language(ticket, states, window)
        )

    async def _log_mel(self, job: Job, lease: Lease, window: Window, prepared: PreparedAudio) -> ArrayRef:
        """The first window's was computed with the preparation; those of later windows and of rests are not yet."""
        if prepared.first is not None and window is prepared.windows[0]:
            return prepared.first
        pcm, ticket = prepared.pcm, self._ticket(job, lease)
        if pcm is None:
            raise ValueError("a later window needs the decoded audio")
        mel = await self._call(self.mel, job, lease, window.index, lambda: self._stages.log_mel(ticket, pcm, window))
        return mel.log_mel

    async def _encode(self, job: Job, lease: Lease, window: Window, log_mel: ArrayRef) -> EncodedWindow:
        ticket = self._ticket(job, lease)
        encoded = await self._call(self.encoder, job, lease, window.index, lambda: self._stages.encode(ticket, log_mel))
        job.costs.device = encoded.timing.device
        return encoded

    async def _decode(
        self, job: Job, lease: Lease, window: Window, states: ArrayRef, options: DecodeOptions, pcm: BlobRef | None
    ) -> Transcript:
        ticket = self._ticket(job, lease)
        decoded = await self._call(
            self.decoder,
            job,
            lease,
            window.index,
            lambda: self._stages.decode(ticket, states, window, options, pcm),
        )
        return decoded.transcript

    async def _slot(self, job: Job, window: int, entry: Entry | None = None, *, is_rest: bool = False) -> Lease:
        """A slot for the window; the wait for it is a step of the request, also when it gets none."""
        received, began = time.time(), time.monotonic()
        try:
            if job.rest is not None and not is_rest:
                job.rest.windows -= 1
            in_turn = is_rest or 0 < window < self._max_windows_in_flight
            return await self._admission.acquire(job.priority, job.deadline, entry, in_turn=in_turn)
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


def _in_language(options: DecodeOptions, choice: LanguageChoice | None) -> DecodeOptions:
    if choice is None:
        return options
    return replace(options, language=choice.language, other_language=choice.other)
