"""Encoder: the second deployment of the graph, one actor a device. Log-mel -> encoder states, both in the slot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeAlias

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
from deployments.shared.watchdog import ProgressWatch
from npu_encoder.backend import EncoderBackend, encode_silence
from npu_encoder.errors import DeviceError, DeviceFailedError, EncoderError

FRAMES_PER_STATE = 2

IDLE_S = 5.0
"""Without work for so long, the device is checked before a request finds out. Shorter than what an NPU's driver waits
before it suspends the device, so a request does not have to wake it either."""

SLACK = 5.0
"""Windows take the same time each, but other processes need the cores too."""

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class _Job:
    ticket: Ticket
    log_mel: ArrayRef
    asked: float


@dataclass(slots=True, eq=False)
class _Window:
    """A job whose slot is its own as long as ``slot`` is open, with views of what goes in and what comes out.

    Attributes:
        together: windows that were in progress at a time with it, itself included.
    """

    fed: FedItem[_Job, EncodedWindow]
    log_mel: Float32
    states: Float32
    slot: ExitStack
    began: float
    together: int = 1


_Take: TypeAlias = Callable[[], FedItem[_Job, EncodedWindow] | None]


@serve.deployment
class Encoder:
    """Owns the device. A window joins those in progress as soon as there is room, and leaves as soon as it is done."""

    def __init__(self, settings: Settings, model: Model) -> None:
        if settings.device == "cpu":
            give_way_to_ingress()  # who drives a device does not: it needs little, but the device waits for it
        self._backend = load_encoder(settings, model)
        self._backend.warm_up(model.frame_buckets)
        self._window_s = _measure(self._backend, max(model.frame_buckets))
        self._watch = ProgressWatch(settings.encoder_budget_s, SLACK)
        self._watch.learn(self._window_s)
        self._d_model = model.dimensions.d_model
        self._at_most = settings.encoder_batch_size
        self._handoff = Handoff()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._feed: Feed[_Job, EncodedWindow] = Feed(self._work, self._thread)
        self._worked_at = time.monotonic()
        self._replica = replica_name()

    async def health(self) -> EncoderHealth:
        """What computes here, and how it is; the probe after this one knows what a check that begins now finds out."""
        if not self._feed.busy and time.monotonic() > self._worked_at + IDLE_S:
            self._worked_at = time.monotonic()
            asyncio.get_running_loop().run_in_executor(self._thread, self._check_device)
        health, progress = self._backend.health, self._watch.progress()
        status, reason = health.status, health.reason
        if progress.stalled_s >= progress.budget_s:
            status, reason = "failed", f"it has work and has finished nothing for {progress.stalled_s:.0f} s"
        return EncoderHealth(self._backend.device, status, reason, health.recoveries, self._window_s)

    async def progress(self) -> StageProgress:
        """Whether the windows here get on."""
        return self._watch.progress()

    async def check_health(self) -> None:
        """Raise when the encoder hangs, so that Serve replaces this replica."""
        self._watch.check_progress()

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        """Encodes one window, together with whatever other windows are in progress."""
        try:
            return await self._feed(_Job(ticket, log_mel, time.monotonic()), ticket.priority)
        finally:
            self._worked_at = time.monotonic()

    def _check_device(self) -> None:
        with self._watch.work():
            self._backend.probe_device()

    def _work(self, take: _Take) -> None:
        in_progress: set[_Window] = set()
        try:
            with self._watch.work() as work:
                for window, outcome in self._backend.encode_each(lambda: self._next(take, in_progress), self._at_most):
                    work.progressed()
                    in_progress.discard(window)
                    window.fed.settle(self._finish(window, outcome))
        finally:
            for window in in_progress:
                window.slot.close()

    def _next(self, take: _Take, in_progress: set[_Window]) -> _Window | None:
        # One bad job must not fail its neighbours, so it is settled here.
        while (fed := take()) is not None:
            try:
                window = self._open(fed)
            except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to this window's caller alone)
                fed.settle(error)
                continue
            in_progress.add(window)
            for neighbour in in_progress:
                neighbour.together = max(neighbour.together, len(in_progress))
            return window
        return None

    def _open(self, fed: FedItem[_Job, EncodedWindow]) -> _Window:
        job = fed.item
        self._handoff.check_ticket(job.ticket)
        log_mel = self._handoff.input(job.ticket, job.log_mel)
        shape = (log_mel.shape[1] // FRAMES_PER_STATE, self._d_model)
        with ExitStack() as slot:
            states = slot.enter_context(self._handoff.output(job.ticket, Area.ENCODER_STATES, shape))
            return _Window(fed, log_mel, states, slot.pop_all(), time.monotonic())

    def _finish(self, window: _Window, outcome: str | EncoderError) -> EncodedWindow | Exception:
        with window.slot:
            if isinstance(outcome, EncoderError):
                return _for_client(outcome)
            job = window.fed.item
            try:
                states = self._handoff.publish(job.ticket, Area.ENCODER_STATES, window.states)
            except Exception as error:  # noqa: BLE001  (as above)
                return error
        queue_s, run_s = window.began - job.asked, time.monotonic() - window.began
        return EncodedWindow(states, StageTiming(queue_s, run_s, window.together, self._replica, outcome))


def _measure(backend: EncoderBackend, frames: int) -> float:
    """Seconds that one window takes on the warm device."""
    began = time.monotonic()
    encode_silence(backend, [frames])
    return time.monotonic() - began


def _for_client(error: EncoderError) -> Exception:
    if isinstance(error, DeviceFailedError):
        return DeviceBrokenError("the encoder's device has failed; the operator has to see to it", retry_after_s=30)
    if isinstance(error, DeviceError):
        logger.warning("device error: %s", error)
        return DeviceUnreliableError("the encoder's device failed while it worked on this; try again", retry_after_s=1)
    return error
