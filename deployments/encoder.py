"""Encoder: the second deployment of the graph, one actor a device. Log-mel -> encoder states, both in the slot."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

from ray import serve

from deployments.contracts import Area, ArrayRef, EncodedWindow, EncoderHealth, StageTiming, Ticket
from deployments.encoder_backend import load_encoder
from deployments.errors import AmanuensisError, DeviceBrokenError, DeviceUnreliableError
from deployments.memory.handoff import Float32, Handoff
from deployments.model import Model
from deployments.replica import give_way_to_ingress, replica_name
from deployments.scheduling.batcher import NaturalBatcher
from deployments.settings import Settings
from npu_encoder.errors import DeviceError, DeviceFailedError

FRAMES_PER_STATE = 2

logger = logging.getLogger("ray.serve")


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
        give_way_to_ingress()
        self._backend = load_encoder(settings, model)
        self._backend.warm_up(model.frame_buckets)
        self._d_model = model.dimensions.d_model
        self._handoff = Handoff()
        self._batcher: NaturalBatcher[_Job, EncodedWindow] = NaturalBatcher(
            self._run, settings.encoder_batch_size, ThreadPoolExecutor(1, thread_name_prefix="encoder")
        )
        self._replica = replica_name()

    async def health(self) -> EncoderHealth:
        """What computes here, and how it is."""
        health = self._backend.health
        return EncoderHealth(self._backend.device, health.status, health.reason, health.recoveries)

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        """Encodes one window, together with whatever other windows wait."""
        return await self._batcher(_Job(ticket, log_mel, time.monotonic()))

    def _run(self, jobs: Sequence[_Job]) -> list[EncodedWindow | Exception]:
        # One bad job must not fail its neighbours, so errors travel as results.
        began = time.monotonic()
        with ExitStack() as outputs:
            opened = [self._open(job, outputs) for job in jobs]
            ready = [item for item in opened if isinstance(item, _Arrays)]
            device = self._encode(ready)
            if isinstance(device, AmanuensisError):
                return [device if isinstance(item, _Arrays) else item for item in opened]
            timing = StageTiming(0.0, time.monotonic() - began, len(ready), self._replica, device)
            return [self._publish(item, timing, began) if isinstance(item, _Arrays) else item for item in opened]

    def _encode(self, windows: list[_Arrays]) -> str | AmanuensisError:
        """The device that encoded them, or why none did."""
        try:
            return self._backend.encode([window.log_mel for window in windows], [window.states for window in windows])
        except DeviceFailedError:
            return DeviceBrokenError("the encoder's device has failed; the operator has to see to it", retry_after_s=30)
        except DeviceError as error:
            logger.warning("device error: %s", error)
            return DeviceUnreliableError(
                "the encoder's device failed while it worked on this; try again", retry_after_s=1
            )

    def _open(self, job: _Job, outputs: ExitStack) -> _Arrays | AmanuensisError:
        try:
            self._handoff.check(job.ticket)
            log_mel = self._handoff.input(job.ticket, job.log_mel)
            shape = (log_mel.shape[1] // FRAMES_PER_STATE, self._d_model)
            states = outputs.enter_context(self._handoff.output(job.ticket, Area.ENCODER_STATES, shape))
            return _Arrays(job, log_mel, states)
        except AmanuensisError as error:
            return error

    def _publish(self, item: _Arrays, timing: StageTiming, began: float) -> EncodedWindow | AmanuensisError:
        try:
            states = self._handoff.publish(item.job.ticket, Area.ENCODER_STATES, item.states)
        except AmanuensisError as error:
            return error
        return EncodedWindow(states, replace(timing, queue_s=began - item.job.asked))
