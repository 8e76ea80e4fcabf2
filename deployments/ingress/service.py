"""The transcription service behind the HTTP routes: checks against the model, spools, runs the pipeline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray

from deployments.ingress.failures.log import FailureLog, state_directory
from deployments.ingress.failures.recorder import FailureRecorder
from deployments.ingress.scheduling.admission import Admission, Entry, Priority
from deployments.ingress.scheduling.breaker import CircuitBreaker
from deployments.ingress.scheduling.pipeline import AudioReady, Budgets, Job, Pipeline, Stages, WindowDone
from deployments.ingress.scheduling.time_limit import TimeLimit
from deployments.ingress.shared_directory import SharedDirectory
from deployments.ingress.telemetry.record import Costs, RequestRecord
from deployments.ingress.telemetry.request_log import RequestLog
from deployments.ingress.telemetry.statistics import Statistics
from deployments.ingress.transcript.language_choice import spoken_language
from deployments.shared.contracts import (
    BlobRef,
    DecodeOptions,
    EncoderHealth,
    SpeechOptions,
    SpooledBlob,
    Stored,
    Task,
    Transcript,
    Window,
)
from deployments.shared.errors import (
    AmanuensisError,
    InvalidAudioError,
    ModelNotFoundError,
    UnsupportedLanguageError,
)
from deployments.shared.frames import N_FRAMES
from deployments.shared.languages import language_code
from deployments.shared.memory.handoff import drop
from deployments.shared.memory.slab import Slab, SlabLayout
from deployments.shared.memory.spool import write_upload
from deployments.shared.model import Model
from deployments.shared.settings import Settings

if TYPE_CHECKING:
    from deployments.ingress.telemetry.traces import Traces

ENGLISH = "en"
logger = logging.getLogger("ray.serve")

PROBE_TIMEOUT_S = 2.0
PROBE_PERIOD_S = 1.0
DRAIN_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """What a client asks for, in the service's terms.

    Attributes:
        audio: the uploaded file.
        model: a served name, or None.
        language: as the client wrote it, or None.
        time_limit: until when it must be answered.
        costs: are added up here.
    """

    request_id: str
    audio: bytes
    task: Task
    model: str | None
    language: str | None
    prompt: str | None
    hotwords: str | None
    temperature: float
    beam_size: int | None
    vad_filter: bool
    word_times: bool
    priority: Priority
    time_limit: TimeLimit
    costs: Costs = field(default_factory=Costs)


class TranscriptionService:
    """One an ingress replica. Owns the shared directory, the slots, the statistics and the failure log."""

    def __init__(self, settings: Settings, model: Model, stages: Stages, *, shared_memory: bool) -> None:
        self.settings = settings
        self._settings_at_start = settings
        self.model = model
        self.statistics = Statistics()
        self.shared_memory = shared_memory
        self.failures = _failure_recorder(settings)
        self.request_log = RequestLog()
        self._stages = stages
        self._directory = SharedDirectory.create(settings.shared_memory_dir) if shared_memory else None
        slab = self._create_slab()
        self.admission = Admission(
            settings.slots,
            settings.max_queue_size,
            slab,
            self.statistics.queue,
            ageing_s=settings.priority_ageing_s,
        )
        self._pipeline = Pipeline(
            stages,
            self.admission,
            self.statistics,
            budgets=_budgets(settings),
            max_windows_in_flight=settings.max_windows_in_flight,
            slab_path=str(slab.path) if slab else None,
        )
        self._encoder_health: EncoderHealth | None = None
        self._probe_has_failed = False
        self._traces = _traces(settings)

    @property
    def names(self) -> tuple[str, ...]:
        """The model names clients may use, the real one first."""
        return (self.model.name, *self.settings.model_aliases)

    def check_model(self, name: str | None) -> None:
        """
        Raises:
            ModelNotFoundError: another model is served.
        """
        if name is not None and name not in self.names:
            raise ModelNotFoundError(f"the model {name!r} is not served here; use {self.model.name!r}", param="model")

    async def transcribe(self, request: TranscriptionRequest, entry: Entry) -> AsyncGenerator[AudioReady | WindowDone]:
        """Yields ``AudioReady``, then the text window by window.

        Raises:
            InvalidRequestError: the model cannot do what was asked, or the audio is unusable.
            DeadlineExceededError: no slot, or no text, in time.
        """
        self.statistics.pending_responses += 1
        try:
            async with aclosing(self._transcribe(request, entry)) as events:
                async for event in events:
                    yield event
        finally:
            self.statistics.pending_responses -= 1

    async def _transcribe(self, request: TranscriptionRequest, entry: Entry) -> AsyncGenerator[AudioReady | WindowDone]:
        job = self._job(request)
        try:
            async with aclosing(self._pipeline.run(job, entry)) as events:
                async for event in events:
                    yield event
        finally:
            drop(job.upload)

    def answered(self, record: RequestRecord) -> None:
        """An audio request got its whole text."""
        record.end()
        self.statistics.answered(record)
        self.request_log.answered(record)
        if self._traces is not None:
            self._traces.ended(record, None)

    def failed(self, error: AmanuensisError, record: RequestRecord | None = None) -> None:
        """A request was answered with an error; ``record`` is of an audio request."""
        if record is not None:
            record.end()
        self.statistics.failed(error, record)
        self.request_log.failed(error, record)
        if self._traces is not None and record is not None:
            self._traces.ended(record, error)

    def change(self, changes: dict[str, Any]) -> None:
        """Replaces the live settings; those that ``changes`` does not name are as they were at the start.

        Raises:
            ConfigurationError: a change that needs a redeployment, or a bad value; nothing has changed then.
        """
        settings = self._settings_at_start.changed(changes)
        self.settings = settings
        self.admission.max_queue_size = settings.max_queue_size
        self._pipeline.set_budgets(_budgets(settings))

    async def drain(self) -> bool:
        """Takes nothing new; true once all that was accepted is answered, false if that takes too long."""
        self.admission.close()
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
    def encoder_health(self) -> EncoderHealth | None:
        """What the encoder answered to the latest probe; None if it did not."""
        return self._encoder_health

    @property
    def encoder_works(self) -> bool:
        """It answered the latest probe, and can encode."""
        return self._encoder_health is not None and self._encoder_health.status != "failed"

    @property
    def encoder_device(self) -> str | None:
        """The device of the encoder if it answered the latest probe, else None."""
        return self._encoder_health.device if self._encoder_health else None

    @property
    def breakers(self) -> tuple[CircuitBreaker, ...]:
        """Of the three stages, in their order."""
        return tuple(stage.breaker for stage in self._pipeline.stage_calls)

    @property
    def unavailable_stage(self) -> str | None:
        """Why a stage serves nobody: it hangs, is left alone, or could be tried again but there is no slot for it."""
        for stage in self._pipeline.stage_calls:
            if stage.hung:
                return f"{stage.statistics.name} hangs: it has work and finishes nothing"
            state = stage.breaker.state
            if state == "open" or (state == "half_open" and self.admission.in_use == self.admission.slots):
                return stage.breaker.reason
        return None

    @property
    def replicas(self) -> tuple[int, int, int]:
        """How many each of the three stages starts with, in their order."""
        settings = self.settings
        return settings.mel_replicas, settings.encoder_replicas, settings.decoder_replicas

    @property
    def ready(self) -> bool:
        """Requests will be served: it is not stopping, the encoder works, and so does every other stage."""
        return not self.admission.closed and self.encoder_works and self.unavailable_stage is None

    def check_stages(self) -> None:
        """Called before anything is read or queued for a request.

        Raises:
            CircuitOpenError: a stage is broken at the moment.
        """
        for breaker in self.breakers:
            breaker.check()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Probes the encoder for as long as the context lasts. After it nothing is left in shared memory, and every
        failure is written.
        """
        probing = asyncio.create_task(self._probe_for_ever())
        try:
            yield
        finally:
            probing.cancel()
            self.request_log.flush()
            if self._directory is not None:
                self._directory.remove()
            await asyncio.to_thread(self.failures.close)
            if self._traces is not None:
                await asyncio.to_thread(self._traces.close)

    async def _probe_for_ever(self) -> None:
        while True:
            was_well = self.encoder_works
            self._encoder_health = await self._probe()
            if self._encoder_health is not None and self._encoder_health.window_s is not None:
                self.admission.foresee(self._encoder_health.window_s)
            if self.encoder_works and not was_well:
                self._pipeline.encoder.breaker.succeeded()
            await asyncio.sleep(PROBE_PERIOD_S)

    async def _probe(self) -> EncoderHealth | None:
        """What the encoder answers; None if it does not, for whatever reason: the next probe has to come."""
        try:
            return await asyncio.wait_for(self._stages.encoder_health(), PROBE_TIMEOUT_S)
        except (AmanuensisError, TimeoutError):
            return None
        except Exception:
            if not self._probe_has_failed:
                logger.exception("The health probe failed in an unforeseen way; this is logged once.")
            self._probe_has_failed = True
            return None

    def _create_slab(self) -> Slab | None:
        if self._directory is None:
            return None
        dimensions = self.model.dimensions
        layout = SlabLayout(
            self.settings.slots, dimensions.n_mels, N_FRAMES, dimensions.n_audio_ctx, dimensions.d_model
        )
        return Slab.create(self._directory.path / "slab", layout)

    def _job(self, request: TranscriptionRequest) -> Job:
        self.check_model(request.model)
        if request.task == "translate" and not self.model.multilingual:
            raise UnsupportedLanguageError(f"the model {self.model.name} cannot translate: it only knows English")
        if not request.audio:
            raise InvalidAudioError("the file is empty", param="file")
        language = self._language(request.language)
        return Job(
            request_id=request.request_id,
            upload=self._spool(request.audio),
            speech=SpeechOptions(vad_filter=request.vad_filter, max_window_s=self.model.max_window_s),
            decode=DecodeOptions(
                task=request.task,
                language=language,
                prompt=request.prompt,
                hotwords=request.hotwords,
                temperature=request.temperature,
                beam_size=request.beam_size or (1 if request.temperature else self.settings.beam_size),
                word_times=request.word_times,
            ),
            priority=request.priority,
            deadline=request.time_limit.deadline(),
            time_limit=request.time_limit,
            detect_language=language is None,
            costs=request.costs,
        )

    def _language(self, asked: str | None) -> str | None:
        """The ISO code; None where it has to be detected."""
        if asked is None:
            return None if self.model.multilingual else self.model.languages[0]
        code = language_code(asked)
        if code is None:
            raise UnsupportedLanguageError(f"{asked!r} is not a language; use an ISO-639-1 code", param="language")
        if code not in self.model.languages:
            known = ", ".join(self.model.languages)
            raise UnsupportedLanguageError(f"the model {self.model.name} only knows: {known}", param="language")
        return code

    def language_of(self, request: TranscriptionRequest, texts: Sequence[tuple[Window, Transcript]]) -> str:
        """The ISO code of an answer's language.

        It is English for a translation, else the one asked for, else the one that most of the speech was in. Of
        silence it is English if the model knows it: OpenAI's answer has to name one, and names that one too.
        """
        if request.task == "translate":
            return ENGLISH
        found = self._language(request.language) or spoken_language(texts)
        return found or (ENGLISH if ENGLISH in self.model.languages else self.model.languages[0])

    def _spool(self, audio: bytes) -> BlobRef:
        if self._directory is None:
            return Stored(ray.put(audio))
        return SpooledBlob(str(write_upload(self._directory.path, audio)))


def _failure_recorder(settings: Settings) -> FailureRecorder:
    directory = settings.failure_log_dir or state_directory()
    log = FailureLog(directory.expanduser(), settings.failure_log_max_records, settings.failure_log_max_bytes)
    return FailureRecorder(log, keep_audio=settings.failure_log_audio)


def _traces(settings: Settings) -> Traces | None:
    if settings.otlp_endpoint is None:
        return None
    from deployments.ingress.telemetry.traces import Traces  # noqa: PLC0415  (where there are no traces, nobody pays for the import)

    return Traces(settings.otlp_endpoint)


def _budgets(settings: Settings) -> Budgets:
    return Budgets(settings.mel_budget_s, settings.encoder_budget_s, settings.decoder_budget_s)
