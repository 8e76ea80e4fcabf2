"""``/metrics``: every series, those that are counted and those that are read at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress.jobs.job import End, Status
from deployments.ingress.scheduling.breaker import CircuitBreaker
from deployments.ingress.service import TranscriptionService
from deployments.ingress.telemetry import series
from deployments.ingress.telemetry.series import CounterSeries, GaugeSeries
from deployments.ingress.telemetry.statistics import StageStatistics

Labels = tuple[str, ...]
Read = Callable[[TranscriptionService], Mapping[Labels, float]]
"""The values now, by those of the labels."""

BREAKER = {"closed": 0.0, "half_open": 0.5, "open": 1.0}
SILENT = "silent"
ENCODER_STATES = ("healthy", "degraded", "failed", SILENT)


async def metrics(request: Request) -> Response:
    """Answer with every series, for Prometheus."""
    shown: Metrics = request.app.state.metrics
    return Response(shown.render(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})


class Metrics:
    """The series of one service."""

    def __init__(self, service: TranscriptionService) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(service.statistics.registry)
        self._registry.register(_Readings(service))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """Return all series in Prometheus' text format, and those of this process: memory, CPU time, open files."""
        return generate_latest(self._registry)


class _Readings(Collector):
    """What is read at each scrape."""

    def __init__(self, service: TranscriptionService) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        for read_series, read in READINGS.items():
            family = read_series.family()
            for labels, number in read(self._service).items():
                family.add_metric(labels, number)
            yield family


def _one(read: Callable[[TranscriptionService], float]) -> Read:
    """Return how a series without labels is read."""
    return lambda service: {(): read(service)}


def _each_stage(read: Callable[[StageStatistics], float]) -> Read:
    """Return how a series with the label ``stage`` is read."""
    return lambda service: {(stage.name,): read(stage) for stage in service.statistics.stages_and_diarizer}


def _queue_utilization(service: TranscriptionService) -> float:
    limit = service.admission.max_queue_size
    return service.admission.waiting / limit if limit else 0.0


def _replicas(service: TranscriptionService) -> Mapping[Labels, float]:
    return {(stage.name,): count for stage, count in zip(service.statistics.stages, service.replicas, strict=True)}


def _each_breaker(read: Callable[[CircuitBreaker], float]) -> Read:
    """Return how a series of the stages' breakers is read."""
    return lambda service: {
        (calls.statistics.name,): read(calls.breaker) for calls in (*service.graph.calls, service.graph.diarizer)
    }


def _encoder_health(service: TranscriptionService) -> Mapping[Labels, float]:
    health = service.encoder.health
    now = SILENT if health is None else health.status
    return {(state,): float(state == now) for state in ENCODER_STATES}


def _encoder_device(service: TranscriptionService) -> Mapping[Labels, float]:
    """Nothing while the encoder is silent."""
    device = service.encoder.device
    return {} if device is None else {(device,): 1.0}


def _encoder_recoveries(service: TranscriptionService) -> Mapping[Labels, float]:
    """Nothing while the encoder is silent: zero would look like a restart."""
    health = service.encoder.health
    return {} if health is None else {(): health.recoveries}


def _jobs(service: TranscriptionService) -> Mapping[Labels, float]:
    counts = service.jobs.counts if service.jobs is not None else {}
    return {(status,): counts.get(status, 0) for status in get_args(Status)}


def _jobs_ended(service: TranscriptionService) -> Mapping[Labels, float]:
    ended = service.jobs.store.ended if service.jobs is not None else {}
    return {(status,): ended.get(status, 0) for status in get_args(End)}


READINGS: Mapping[CounterSeries | GaugeSeries, Read] = {
    series.PENDING_RESPONSES: _one(lambda service: service.statistics.pending_responses),
    series.QUEUE_WAIT_MIN_SECONDS: _one(lambda service: service.statistics.queue.recent_waits.min_s),
    series.QUEUE_WAIT_MAX_SECONDS: _one(lambda service: service.statistics.queue.recent_waits.max_s),
    series.QUEUE_SIZE: _one(lambda service: service.admission.waiting),
    series.QUEUE_LIMIT: _one(lambda service: service.admission.max_queue_size),
    series.QUEUE_UTILIZATION: _one(_queue_utilization),
    series.QUEUE_DROP_RATIO: _one(lambda service: service.statistics.queue.drop_ratio),
    series.SLOTS: _one(lambda service: service.admission.slots),
    series.SLOTS_IN_USE: _one(lambda service: service.admission.in_use),
    series.SLOT_HIT_RATIO: _one(lambda service: service.statistics.queue.hit_ratio),
    series.STAGE_CALL_MIN_SECONDS: _each_stage(lambda stage: stage.recent_calls.min_s),
    series.STAGE_CALL_MAX_SECONDS: _each_stage(lambda stage: stage.recent_calls.max_s),
    series.STAGE_BUSY_RATIO: _each_stage(lambda stage: stage.busy_fraction),
    series.STAGE_SUCCESS_RATIO: _each_stage(lambda stage: stage.success_ratio),
    series.STAGE_CALLS_IN_FLIGHT: _each_stage(lambda stage: stage.active),
    series.STAGE_REPLICAS: _replicas,
    series.BREAKER_STATE: _each_breaker(lambda breaker: BREAKER[breaker.state]),
    series.BREAKER_OPENINGS: _each_breaker(lambda breaker: breaker.opened),
    series.ENCODER_DEVICE: _encoder_device,
    series.ENCODER_HEALTH: _encoder_health,
    series.ENCODER_RECOVERIES: _encoder_recoveries,
    series.START_TIME_SECONDS: _one(lambda service: service.statistics.started_at.timestamp()),
    series.READY: _one(lambda service: service.ready),
    series.PIPELINED: _one(lambda service: service.settings.enable_pipeline),
    series.LIVE_SESSIONS: _one(lambda service: service.statistics.live.sessions),
    series.JOBS: _jobs,
    series.JOBS_ENDED: _jobs_ended,
    series.FAILURES_RECORDED: _one(lambda service: service.failures.recorded),
    series.FAILURES_DROPPED: _one(lambda service: service.failures.dropped),
    series.FAILURES_ERRORS: _one(lambda service: service.failures.errors),
    series.FAILURES_BACKLOG: _one(lambda service: service.failures.backlog),
}
