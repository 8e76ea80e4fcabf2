"""Encoder: the second deployment of the graph, one actor a device. Log-mel -> encoder states, both in the slot."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from ray import serve

from deployments.contracts import Area, ArrayRef, EncodedWindow, StageTiming, Ticket
from deployments.errors import AmanuensisError
from deployments.memory.handoff import Float32, Handoff
from deployments.model import Model
from deployments.replica import replica_name
from deployments.settings import Settings
from npu_encoder.loading import load_backend

FRAMES_PER_STATE = 2


@dataclass(frozen=True, slots=True)
class _Job:
    ticket: Ticket
    log_mel: ArrayRef
    asked: float


@dataclass(frozen=True, slots=True)
class _Arrays:
    """A job whose slot is still its own, with views of what goes in and what comes out."""

    job: _Job
    log_mel: Float32
    states: Float32


@serve.deployment
class Encoder:
    """Owns the device. Requests meet in one batch here; the device sees one batch at a time."""

    def __init__(self, settings: Settings, model: Model) -> None:
        self._backend = load_backend(
            model.path,
            backend=settings.encoder_backend,
            precision=settings.encoder_precision,
            threads=settings.encoder_threads,
        )
        self._backend.warm_up(model.frame_buckets)
        self._d_model = model.dimensions.d_model
        self._handoff = Handoff()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._replica = replica_name()
        self._encode_batch.set_max_batch_size(settings.encoder_batch_size)
        self._encode_batch.set_batch_wait_timeout_s(settings.encoder_batch_wait_s)

    async def device(self) -> str:
        """What computes here, for health and for the response of every request."""
        return self._backend.device

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        """Encodes one window, together with whatever other windows wait."""
        result = await self._encode_batch(_Job(ticket, log_mel, time.monotonic()))
        if isinstance(result, AmanuensisError):
            raise result
        encoded: EncodedWindow = result
        return encoded

    @serve.batch
    async def _encode_batch(self, jobs: list[_Job]) -> list[EncodedWindow | AmanuensisError]:
        # One bad job must not fail its neighbours, so errors travel as results.
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, jobs)

    def _run(self, jobs: list[_Job]) -> list[EncodedWindow | AmanuensisError]:
        began = time.monotonic()
        with ExitStack() as outputs:
            opened = [self._open(job, outputs) for job in jobs]
            ready = [item for item in opened if isinstance(item, _Arrays)]
            self._backend.encode([item.log_mel for item in ready], [item.states for item in ready])
            run_s = time.monotonic() - began
            return [
                self._publish(item, began, run_s, len(ready)) if isinstance(item, _Arrays) else item for item in opened
            ]

    def _open(self, job: _Job, outputs: ExitStack) -> _Arrays | AmanuensisError:
        try:
            self._handoff.check(job.ticket)
            log_mel = self._handoff.input(job.ticket, job.log_mel)
            shape = (log_mel.shape[1] // FRAMES_PER_STATE, self._d_model)
            states = outputs.enter_context(self._handoff.output(job.ticket, Area.ENCODER_STATES, shape))
            return _Arrays(job, log_mel, states)
        except AmanuensisError as error:
            return error

    def _publish(self, item: _Arrays, began: float, run_s: float, batch: int) -> EncodedWindow | AmanuensisError:
        timing = StageTiming(began - item.job.asked, run_s, batch, self._replica, self._backend.device)
        try:
            states = self._handoff.publish(item.job.ticket, Area.ENCODER_STATES, item.states)
        except AmanuensisError as error:
            return error
        return EncodedWindow(states, timing)
