"""Encoder: the second deployment of the graph, one actor per device. Log-mel -> encoder states, both in the slot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from ray import serve

from deployments.encoder.backend import load_encoder
from deployments.encoder.feed import FedItem, Feed
from deployments.shared.contracts import (
    Area,
    ArrayRef,
    EncodedWindow,
    EncoderHealth,
    StageProgress,
    StageTiming,
    Ticket,
)
from deployments.shared.cpu_priority import give_way_to_ingress
from deployments.shared.errors import DeviceBrokenError, DeviceUnreliableError
from deployments.shared.memory.handoff import Handoff
from deployments.shared.memory.slab import Float32
from deployments.shared.model.description import Model
from deployments.shared.replica_name import replica_name
from deployments.shared.settings import Settings
from deployments.shared.threads import WatchedThreads
from deployments.shared.watchdog import ProgressWatch
from npu_encoder.backend import EncoderBackend, encode_silence
from npu_encoder.errors import DeviceError, DeviceFailedError, EncoderError
from npu_encoder.silence import read_silence

FRAMES_PER_STATE = 2

IDLE_S = 5.0
"""Seconds without work after which the device is probed, before a request finds out that it is lost. An NPU's driver
waits longer before it suspends the device, so no request has to wake it either."""

SLACK = 5.0
"""All windows take the same time, but other processes need the cores too."""

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class _Job:
    """One call of ``encode``, and when it was made."""

    ticket: Ticket
    log_mel: ArrayRef
    asked: float


@dataclass(slots=True, eq=False)
class _OpenJob:
    """A job with views of its input and its output, which are its own as long as ``slot`` is open.

    Attributes:
        states: the part of ``whole`` that the encoder computes.
        whole: what is handed on.
        together: the most jobs that were in progress at a time with it, itself included.
    """

    fed: FedItem[_Job, EncodedWindow]
    log_mel: Float32
    states: Float32
    whole: Float32
    slot: ExitStack
    began: float
    together: int = 1


_Take: TypeAlias = Callable[[], FedItem[_Job, EncodedWindow] | None]


@serve.deployment
class Encoder:
    """The owner of the device. A window joins those in progress once there is room, and leaves once it is done."""

    def __init__(self, settings: Settings, model: Model) -> None:
        if settings.device == "cpu":
            give_way_to_ingress()  # not where a device is driven: that needs little, and the device waits for it
        self._backend = load_encoder(settings, model)
        self._backend.warm_up(model.frame_buckets)
        encoding_s = _cpu_s if settings.device == "cpu" else _device_s
        self._window_s = encoding_s(self._backend, max(model.frame_buckets))
        self._watch = ProgressWatch(settings.encoder_budget_s, SLACK)
        self._watch.learn(self._window_s)
        self._d_model = model.dimensions.d_model
        self._silence = None if model.silence is None else read_silence(model.silence)
        self._at_most = settings.encoder_batch_size
        self._handoff = Handoff()
        self._thread = WatchedThreads(1, "encoder", self._watch)
        self._feed: Feed[_Job, EncodedWindow] = Feed(self._work, self._thread)
        self._worked_at = time.monotonic()
        self._replica = replica_name()

    async def health(self) -> EncoderHealth:
        """Return the state of the device. An idle device is probed from here, and the next call has the result."""
        if not self._feed.busy and time.monotonic() > self._worked_at + IDLE_S:
            self._worked_at = time.monotonic()
            asyncio.get_running_loop().run_in_executor(self._thread, self._probe_device)
        health, progress = self._backend.health, self._watch.progress()
        status, reason = health.status, health.reason
        if progress.stalled_s >= progress.budget_s:
            status, reason = "failed", f"The encoder has work and has finished nothing for {progress.stalled_s:.0f} s"
        return EncoderHealth(self._backend.device, status, reason, health.recoveries, self._window_s)

    async def progress(self) -> StageProgress:
        """Return whether the windows here get on."""
        return self._watch.progress()

    async def check_health(self) -> None:
        """Raise when the encoder hangs, so that Serve replaces this replica."""
        self._handoff.drop_slab_if_gone()
        self._watch.check_progress()

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        """Encode one window, together with whatever other windows are in progress."""
        try:
            return await self._feed(_Job(ticket, log_mel, time.monotonic()), ticket.priority)
        finally:
            self._worked_at = time.monotonic()

    def _probe_device(self) -> None:
        with self._watch.work():
            self._backend.probe_device()

    def _work(self, take: _Take) -> None:
        in_progress: set[_OpenJob] = set()
        try:
            with self._watch.work() as work:
                for job, outcome in self._backend.encode_each(lambda: self._next(take, in_progress), self._at_most):
                    work.progressed()
                    in_progress.discard(job)
                    job.fed.settle(self._finish(job, outcome))
        finally:
            for job in in_progress:
                job.slot.close()

    def _next(self, take: _Take, in_progress: set[_OpenJob]) -> _OpenJob | None:
        # One bad job must not fail its neighbours, so it is settled here.
        while (fed := take()) is not None:
            try:
                job = self._open(fed)
            except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to this job's caller alone)
                fed.settle(error)
                continue
            in_progress.add(job)
            for each in in_progress:
                each.together = max(each.together, len(in_progress))
            return job
        return None

    def _open(self, fed: FedItem[_Job, EncodedWindow]) -> _OpenJob:
        job = fed.item
        self._handoff.check_ticket(job.ticket)
        log_mel = self._handoff.input(job.ticket, job.log_mel)
        ctx = log_mel.shape[1] // FRAMES_PER_STATE
        tail = self._tail(ctx)
        shape = (ctx + len(tail), self._d_model)
        with ExitStack() as slot:
            whole = slot.enter_context(self._handoff.output(job.ticket, Area.ENCODER_STATES, shape))
            whole[ctx:] = tail
            return _OpenJob(fed, log_mel, whole[:ctx], whole, slot.pop_all(), time.monotonic())

    def _tail(self, ctx: int) -> Float32:
        """Return the rows that stand for the silence behind ``ctx`` states: ``[rows, d_model]``."""
        if self._silence is None:
            return np.empty((0, self._d_model), np.float32)
        return self._silence.tail(ctx)

    def _finish(self, job: _OpenJob, outcome: str | EncoderError) -> EncodedWindow | Exception:
        call = job.fed.item
        with job.slot:
            if isinstance(outcome, EncoderError):
                return _for_client(outcome)
            try:
                states = self._handoff.publish(call.ticket, Area.ENCODER_STATES, job.whole)
            except Exception as error:  # noqa: BLE001  (as above)
                return error
        queue_s, run_s = job.began - call.asked, time.monotonic() - job.began
        return EncodedWindow(states, StageTiming(queue_s, run_s, job.together, self._replica, outcome))


def _device_s(backend: EncoderBackend, frames: int) -> float:
    """Return the seconds that one window of silence takes on a warm device of its own."""
    began = time.monotonic()
    encode_silence(backend, [frames])
    return time.monotonic() - began


def _cpu_s(backend: EncoderBackend, frames: int) -> float:
    """Return the seconds that one window of silence would take on a warm CPU of its own.

    While the service starts, all its processes start on the same cores, and the clock shows several times what a
    request will see: those seconds are left out in which the encoder had no core.
    """
    began = time.process_time()
    by_clock_s = _device_s(backend, frames)
    return min(by_clock_s, time.process_time() - began)


def _for_client(error: EncoderError) -> Exception:
    if isinstance(error, DeviceFailedError):
        return DeviceBrokenError("The encoder's device has failed; the operator has to see to it", retry_after_s=30)
    if isinstance(error, DeviceError):
        logger.warning("The encoder's device failed: %s", error)
        return DeviceUnreliableError("The encoder's device failed while it worked on this; try again", retry_after_s=1)
    return error
