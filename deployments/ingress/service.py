"""The transcription service behind the HTTP routes: owns what all requests share, and takes each through the graph."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from deployments.ingress.encoder_watch import EncoderWatch
from deployments.ingress.failures.log import FailureLog, state_directory
from deployments.ingress.failures.record import Failure
from deployments.ingress.failures.recorder import FailureRecorder
from deployments.ingress.form import TranscriptionForm
from deployments.ingress.jobs.callback import Callbacks
from deployments.ingress.jobs.runner import JobRunner
from deployments.ingress.jobs.store import JobStore
from deployments.ingress.live.sessions import LiveSessions
from deployments.ingress.replica_watch import ReplicaWatch
from deployments.ingress.request import Request
from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.scheduling.breaker import CircuitBreaker
from deployments.ingress.scheduling.graph import Budgets, Graph
from deployments.ingress.scheduling.pipeline import Events, Pipeline
from deployments.ingress.scheduling.queues import Entry
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.telemetry.sinks import Sinks
from deployments.ingress.telemetry.statistics import Statistics
from deployments.ingress.uploads import Uploads
from deployments.ingress.voice_references import data_of
from deployments.ingress.work import SpeakerWork, Work, decode_options, speech_options
from deployments.shared.contracts import BlobRef, DecodeOptions, EncoderHealth, Stages
from deployments.shared.errors import (
    AmanuensisError,
    ConfigurationError,
    InternalError,
    InvalidAudioError,
    ModelNotFoundError,
    SpeakersUnavailableError,
)
from deployments.shared.memory.directory import SLAB, create_directory
from deployments.shared.memory.slab import Slab, SlabLayout
from deployments.shared.memory.spool import pcm_bytes
from deployments.shared.model.description import Model
from deployments.shared.settings import Settings
from deployments.shared.speaker_models import NO_SPEAKERS

DRAIN_POLL_S = 0.05
DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
"""What OpenAI appends to a model's name for one state of the model."""

NO_DIRECTORY = Path("/nonexistent")
"""The home of users that have none, as Debian calls it: the failure log is there if it is off and nobody has a home."""


class TranscriptionService:
    """One per ingress replica. Owns the shared directory, the slots, the statistics, the failure log and the jobs.

    Attributes:
        jobs: runs what clients will ask for later; None where no jobs are kept.
        live: the sessions of those who speak now.
    """

    def __init__(self, settings: Settings, model: Model, stages: Stages, *, shared_memory: bool) -> None:
        self.settings = settings
        self._settings_at_start = settings
        self.model = model
        self.shared_memory = shared_memory
        self.sinks = Sinks(settings.otlp_endpoint)
        self.failures = _failure_recorder(settings)
        self.jobs = self._job_runner()
        self.live = LiveSessions(self.statistics.live)
        self.encoder = EncoderWatch(stages.encoder_health)
        self._replica_watch = ReplicaWatch(stages.replicas)
        self._directory = create_directory(settings.shared_memory_dir) if shared_memory else None
        self._uploads = Uploads(self._directory.path if self._directory else None)
        slab = self._create_slab()
        self.admission = Admission(
            settings.slots,
            settings.max_queue_size,
            slab,
            self.statistics.queue,
            ageing_s=settings.priority_ageing_s,
        )
        self.graph = Graph(stages, self.statistics, _budgets(settings))
        self._pipeline = Pipeline(
            self.graph,
            self.admission,
            max_windows_in_flight=settings.max_windows_in_flight,
            slab_path=str(slab.path) if slab else None,
        )

    @property
    def statistics(self) -> Statistics:
        """What is counted of all requests."""
        return self.sinks.statistics

    @property
    def names(self) -> tuple[str, ...]:
        """The model names clients may use, the real one first."""
        return (self.model.name, *self.settings.model_aliases)

    def is_own_name(self, name: str) -> bool:
        """Return whether a name is one of the served model, with or without a date."""
        return name in self.names or DATE.sub("", name) in self.names

    def require_model(self, name: str | None) -> None:
        """Reject the name of another model, unless any is accepted.

        Raises:
            ModelNotFoundError: another model is served.
        """
        if name is not None and not self.settings.accept_any_model and not self.is_own_name(name):
            raise ModelNotFoundError(f"The model {name!r} is not served here; use {self.model.name!r}", param="model")

    def decode_options(self, request: Request) -> DecodeOptions:
        """Return how the text of each window is generated.

        Raises:
            InvalidRequestError: the model cannot do what was asked.
        """
        self.require_model(request.form.model)
        if request.form.needs_diarizer and self.settings.diarization_model == NO_SPEAKERS:
            raise SpeakersUnavailableError.switched_off()
        return decode_options(request, self.model, self.settings.beam_size)

    async def transcribe(self, request: Request, record: RequestRecord, entry: Entry) -> Events:
        """Yield ``AudioReady``, then the text window by window.

        Raises:
            InvalidRequestError: the model cannot do what was asked, or the audio is unusable.
            DeadlineExceededError: no slot, or no text, in time.
        """
        self.statistics.pending_responses += 1
        try:
            work = await self._plan(request)
            try:
                async with aclosing(self._pipeline.run(request, work, record, entry)) as events:
                    async for event in events:
                        yield event
            finally:
                self._uploads.discard(work.upload, len(request.audio) + pcm_bytes(record.audio_s))
                self._discard_voices(work.speakers.known if work.speakers else ())
        finally:
            self.statistics.pending_responses -= 1

    def change(self, changes: object) -> None:
        """Replace the live settings; those that ``changes`` does not name are as they were at the start.

        Raises:
            ConfigurationError: no mapping, a bad value, or what needs a redeployment; nothing has changed then.
        """
        settings = self._settings_at_start.changed(changes)
        self.settings = settings
        self.admission.max_queue_size = settings.max_queue_size
        self.graph.set_budgets(_budgets(settings))

    def tell_failure(self, error: AmanuensisError, record: RequestRecord | None, accepted: Request | None) -> None:
        """Count an error by its code; record it where the service failed a request that it had accepted."""
        self.sinks.failed(error, record)
        if accepted is not None and record is not None and error.status >= InternalError.status:
            self.failures.record(Failure.of(accepted, record, error, datetime.now(UTC)), accepted.audio)

    async def drain(self) -> bool:
        """Take nothing new; return whether all that was accepted was answered in time. Jobs wait for the next start."""
        await self.live.stop()  # the last words of live sessions still need the queue
        self.admission.close()
        if self.jobs is not None:
            await self.jobs.pause()
        try:
            async with asyncio.timeout(self.settings.drain_timeout_s):
                await self.admission.drained()
                # The reader of a stream may be slow, and between two windows.
                while self.statistics.pending_responses:  # noqa: ASYNC110
                    await asyncio.sleep(DRAIN_POLL_S)
        except TimeoutError:
            return False
        return True

    @property
    def breakers(self) -> tuple[CircuitBreaker, ...]:
        """The breakers of the three stages, in their order."""
        return tuple(calls.breaker for calls in self.graph.calls)

    @property
    def unavailable_stage(self) -> str | None:
        """Why a stage serves nobody: it hangs, is left alone, or could be tried again but there is no slot for it."""
        for calls in self.graph.calls:
            if calls.hung:
                return f"{calls.statistics.name} hangs: it has work and finishes nothing"
            state = calls.breaker.state
            if state == "open" or (state == "half_open" and self.admission.in_use == self.admission.slots):
                return calls.breaker.reason
        return None

    @property
    def replicas(self) -> tuple[int, int, int]:
        """How many replicas of each of the three stages answered when they were last asked, in their order."""
        answering = self._replica_watch.answering
        return answering("mel"), answering("encoder"), answering("decoder")

    @property
    def ready(self) -> bool:
        """Whether requests will be served: it is not stopping, the encoder works, and so does every other stage."""
        return not self.admission.closed and self.encoder.works and self.unavailable_stage is None

    def refuse_if_broken(self) -> None:
        """Refuse a request before anything is read or queued for it, while a stage is broken.

        Raises:
            CircuitOpenError: a stage is.
        """
        for breaker in self.breakers:
            breaker.refuse_if_open()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Probe the encoder and count replicas while the context lasts. After it nothing is left in shared memory, and
        every failure is written.
        """
        probing = asyncio.create_task(self.encoder.run(self._foresee, self.graph.encoder.breaker.succeeded))
        counting = asyncio.create_task(self._replica_watch.run())
        try:
            yield
        finally:
            probing.cancel()
            counting.cancel()
            if self._directory is not None:
                self._directory.remove()
            await asyncio.to_thread(self.live.voice.close)
            await asyncio.to_thread(self.failures.close)
            await self.sinks.close()

    def _job_runner(self) -> JobRunner | None:
        store = JobStore.of(self.settings)
        if store is None:
            return None
        callbacks = Callbacks.of(self.settings, store)
        return JobRunner(store, self.settings.jobs_at_once, callbacks, lambda: self.ready)

    def _foresee(self, health: EncoderHealth) -> None:
        if health.window_s is not None:
            self.admission.foresee(health.window_s)

    def _create_slab(self) -> Slab | None:
        if self._directory is None:
            return None
        layout = SlabLayout.of(self.settings.slots, self.model.dimensions)
        return Slab.create(self._directory.path / SLAB, layout)

    async def _plan(self, request: Request) -> Work:
        decode = self.decode_options(request)
        if not request.audio:
            raise InvalidAudioError.empty_file()
        upload = await self._uploads.store(request.audio)
        try:
            speakers = await self._speaker_work(request.form) if request.form.needs_diarizer else None
        except BaseException:
            self._uploads.discard(upload, len(request.audio))
            raise
        speech, detect = speech_options(request, self.model), decode.language is None
        return Work(upload, speech, decode, detect_language=detect, speakers=speakers)

    async def _speaker_work(self, form: TranscriptionForm) -> SpeakerWork:
        known: list[tuple[str, BlobRef]] = []
        try:
            for name, reference in zip(form.known_speaker_names, form.known_speaker_references, strict=True):
                known.append((name, await self._uploads.store(data_of(reference))))
        except BaseException:
            self._discard_voices(known)
            raise
        return SpeakerWork(form.min_speakers, form.max_speakers, tuple(known), form.wants_embeddings)

    def _discard_voices(self, known: Iterable[tuple[str, BlobRef]]) -> None:
        for _, recording in known:
            self._uploads.discard(recording, 0)


def _failure_recorder(settings: Settings) -> FailureRecorder:
    log = FailureLog(_failure_directory(settings), settings.failure_log_max_records, settings.failure_log_max_bytes)
    return FailureRecorder(log, keep_audio=settings.failure_log_audio)


def _failure_directory(settings: Settings) -> Path:
    if settings.failure_log_dir is not None:
        return settings.failure_log_dir
    try:
        return state_directory()
    except ConfigurationError:
        if settings.failure_log_max_records:
            raise
        return NO_DIRECTORY


def _budgets(settings: Settings) -> Budgets:
    return Budgets(
        settings.mel_budget_s, settings.encoder_budget_s, settings.decoder_budget_s, settings.diarizer_budget_s
    )
