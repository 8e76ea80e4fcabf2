"""``/metrics``: every statistic as a Prometheus series, under one naming scheme.

Nothing is counted here. ``SERIES`` says of each series what it is called, what it means and where it is read from; a
scrape reads them all. Labels take few values, known beforehand: nothing that a client writes becomes one. What
``/stats`` shows as average or percentile is a histogram here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, product
from typing import Literal, TypeVar, get_args

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString
from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress.request import Priority
from deployments.ingress.service import TranscriptionService
from deployments.ingress.telemetry.record import Outcome, outcome_of
from deployments.ingress.telemetry.request_log import ANSWERED_CODE
from deployments.ingress.telemetry.statistics import DropReason, Histogram, StageStatistics
from deployments.shared.errors import AmanuensisError

V = TypeVar("V")
Labels = tuple[str, ...]
Read = Callable[[TranscriptionService], Mapping[Labels, V]]
"""The values now, by those of the labels."""

BREAKER = {"closed": 0.0, "half_open": 0.5, "open": 1.0}
SILENT = "silent"
ENCODER_STATES = ("healthy", "degraded", "failed", SILENT)


@dataclass(frozen=True, slots=True)
class Series:
    """One series, or one for each combination of its labels.

    Attributes:
        name: as Prometheus stores it; a histogram has ``_bucket``, ``_sum`` and ``_count`` after it.
        collect: the values now, as the client library wants them.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels
    collect: Callable[[TranscriptionService], Metric]


async def metrics(request: Request) -> Response:
    """Answer with every series, for Prometheus."""
    series: Metrics = request.app.state.metrics
    return Response(series.render(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})


class Metrics:
    """The series of one service, in a registry of their own."""

    def __init__(self, service: TranscriptionService) -> None:
        self._service = service
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the registry, at every scrape."""
        return (series.collect(self._service) for series in SERIES)

    def render(self) -> bytes:
        """All series in Prometheus' text format, and those of this process: memory, CPU time, open files."""
        return generate_latest(self._registry)


def _counter(name: str, description: str, read: Read[float], labels: Labels = ()) -> Series:
    def collect(service: TranscriptionService) -> Metric:
        family = CounterMetricFamily(name, description, labels=labels)
        for values, number in read(service).items():
            family.add_metric(values, number)
        return family

    return Series(name, "counter", labels, collect)


def _gauge(name: str, description: str, read: Read[float], labels: Labels = ()) -> Series:
    def collect(service: TranscriptionService) -> Metric:
        family = GaugeMetricFamily(name, description, labels=labels)
        for values, number in read(service).items():
            family.add_metric(values, number)
        return family

    return Series(name, "gauge", labels, collect)


def _histogram(name: str, description: str, read: Read[Histogram], labels: Labels = ()) -> Series:
    def collect(service: TranscriptionService) -> Metric:
        family = HistogramMetricFamily(name, description, labels=labels)
        for values, histogram in read(service).items():
            family.add_metric(values, _cumulative(histogram), histogram.total)
        return family

    return Series(name, "histogram", labels, collect)


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.buckets), strict=True))


def _one(read: Callable[[TranscriptionService], V]) -> Read[V]:
    """A series without labels."""
    return lambda service: {(): read(service)}


def _each_stage(read: Callable[[StageStatistics], V]) -> Read[V]:
    """A series with the label ``stage``."""
    return lambda service: {(stage.name,): read(stage) for stage in service.statistics.stages}


def _known(cls: type[AmanuensisError]) -> Iterable[type[AmanuensisError]]:
    """An error and all that derive from it."""
    yield cls
    for derived in cls.__subclasses__():
        yield from _known(derived)


OUTCOMES: dict[str, Outcome] = {error.code: outcome_of(error) for error in _known(AmanuensisError)}
"""By error code."""


def _requests(service: TranscriptionService) -> dict[Labels, float]:
    statistics = service.statistics
    answered: dict[Labels, float] = {("answered", ANSWERED_CODE): statistics.requests.count}
    return answered | {(outcome, code): statistics.failures.get(code, 0) for code, outcome in OUTCOMES.items()}


def _latencies(service: TranscriptionService) -> dict[Labels, Histogram]:
    names = [priority.name.lower() for priority in Priority]
    return {pair: service.statistics.latency(*pair) for pair in product(names, get_args(Outcome))}


def _drops(service: TranscriptionService) -> dict[Labels, float]:
    return {(reason,): service.statistics.queue.drops[reason] for reason in get_args(DropReason)}


def _queue_utilization(service: TranscriptionService) -> float:
    limit = service.admission.max_queue_size
    return service.admission.waiting / limit if limit else 0.0


def _replicas(service: TranscriptionService) -> dict[Labels, float]:
    return {(stage.name,): count for stage, count in zip(service.statistics.stages, service.replicas, strict=True)}


def _breaker_states(service: TranscriptionService) -> dict[Labels, float]:
    stages = zip(service.statistics.stages, service.breakers, strict=True)
    return {(stage.name,): BREAKER[breaker.state] for stage, breaker in stages}


def _breaker_openings(service: TranscriptionService) -> dict[Labels, float]:
    return {
        (stage.name,): breaker.opened
        for stage, breaker in zip(service.statistics.stages, service.breakers, strict=True)
    }


def _encoder_health(service: TranscriptionService) -> dict[Labels, float]:
    health = service.encoder.health
    now = SILENT if health is None else health.status
    return {(state,): float(state == now) for state in ENCODER_STATES}


def _encoder_device(service: TranscriptionService) -> dict[Labels, float]:
    """Nothing while the encoder is silent."""
    device = service.encoder.device
    return {} if device is None else {(device,): 1.0}


def _encoder_recoveries(service: TranscriptionService) -> dict[Labels, float]:
    """Nothing while the encoder is silent: zero would look like a restart."""
    health = service.encoder.health
    return {} if health is None else {(): health.recoveries}


def _failure_log(counter: Literal["recorded", "dropped", "errors", "backlog"]) -> Read[float]:
    return _one(lambda service: service.failures.as_json()[counter])


STAGE = ("stage",)

SERIES: tuple[Series, ...] = (
    # Requests
    _counter(
        "amanuensis_requests_total",
        "Audio requests answered, and errors of any route, by outcome and error code.",
        _requests,
        ("outcome", "code"),
    ),
    _histogram(
        "amanuensis_request_seconds",
        "Audio requests: time from arrival to the end of the answer.",
        _latencies,
        ("priority", "outcome"),
    ),
    _counter(
        "amanuensis_audio_seconds_total",
        "Audio of the requests answered.",
        _one(lambda service: service.statistics.audio_s),
    ),
    _counter(
        "amanuensis_windows_total",
        "Windows of speech of the requests answered.",
        _one(lambda service: service.statistics.windows),
    ),
    _gauge(
        "amanuensis_pending_responses",
        "Requests under way in the pipeline.",
        _one(lambda service: service.statistics.pending_responses),
    ),
    # Queue
    _counter(
        "amanuensis_queue_entered_total",
        "Requests that were given a place in the queue.",
        _one(lambda service: service.statistics.queue.entered),
    ),
    _counter("amanuensis_queue_dropped_total", "Requests refused, or displaced from the queue.", _drops, ("reason",)),
    _counter(
        "amanuensis_queue_timeouts_total",
        "Windows that waited for a slot for as long as the deadline allowed.",
        _one(lambda service: service.statistics.queue.timeouts),
    ),
    _histogram(
        "amanuensis_queue_wait_seconds",
        "Wait for the first slot, of the requests that got one.",
        _one(lambda service: service.statistics.queue.waits),
    ),
    _gauge(
        "amanuensis_queue_wait_min_seconds",
        "Shortest wait for the first slot since the start.",
        _one(lambda service: service.statistics.queue.waits.min_s),
    ),
    _gauge(
        "amanuensis_queue_wait_max_seconds",
        "Longest wait for the first slot since the start.",
        _one(lambda service: service.statistics.queue.waits.max_s),
    ),
    _gauge("amanuensis_queue_size", "Requests that have no slot yet.", _one(lambda service: service.admission.waiting)),
    _gauge(
        "amanuensis_queue_limit",
        "Requests that may wait, beside as many as there are free slots.",
        _one(lambda service: service.admission.max_queue_size),
    ),
    _gauge("amanuensis_queue_utilization_ratio", "Queue size over its limit.", _one(_queue_utilization)),
    _gauge(
        "amanuensis_queue_drop_ratio",
        "Requests dropped over all offered, since the start.",
        _one(lambda service: service.statistics.queue.drop_ratio),
    ),
    # Slots
    _gauge("amanuensis_slots", "Windows that may be in flight.", _one(lambda service: service.admission.slots)),
    _gauge(
        "amanuensis_slots_in_use", "Slots that cannot be granted now.", _one(lambda service: service.admission.in_use)
    ),
    _counter(
        "amanuensis_slots_granted_total",
        "Slots granted, one a window.",
        _one(lambda service: service.statistics.queue.grants),
    ),
    _counter(
        "amanuensis_slot_waits_total",
        "Requests that did not get their first slot at once.",
        _one(lambda service: service.statistics.queue.waited),
    ),
    _gauge(
        "amanuensis_slot_hit_ratio",
        "Requests that got their first slot at once over all that got one, since the start.",
        _one(lambda service: service.statistics.queue.hit_ratio),
    ),
    # Stages
    _histogram(
        "amanuensis_stage_call_seconds",
        "Calls that gave a result: time the ingress waited, hand-over included.",
        _each_stage(lambda stage: stage.calls),
        STAGE,
    ),
    _gauge(
        "amanuensis_stage_call_min_seconds",
        "Shortest call since the start.",
        _each_stage(lambda stage: stage.calls.min_s),
        STAGE,
    ),
    _gauge(
        "amanuensis_stage_call_max_seconds",
        "Longest call since the start.",
        _each_stage(lambda stage: stage.calls.max_s),
        STAGE,
    ),
    _histogram(
        "amanuensis_stage_run_seconds",
        "The same calls: the work itself; in a batch, the whole batch.",
        _each_stage(lambda stage: stage.runs),
        STAGE,
    ),
    _histogram(
        "amanuensis_stage_queue_seconds",
        "The same calls: wait inside the replica.",
        _each_stage(lambda stage: stage.queues),
        STAGE,
    ),
    _histogram(
        "amanuensis_stage_batch_windows",
        "The same calls: windows in the batch that each ran in.",
        _each_stage(lambda stage: stage.batch_sizes),
        STAGE,
    ),
    _counter("amanuensis_stage_batches_total", "Batches run.", _each_stage(lambda stage: stage.batches), STAGE),
    _counter(
        "amanuensis_stage_busy_seconds_total",
        "Time in which the stage computed, of all its replicas.",
        _each_stage(lambda stage: stage.busy_s),
        STAGE,
    ),
    _gauge(
        "amanuensis_stage_busy_ratio",
        "Share of the time since the start in which the stage computed; above 1 with several replicas.",
        _each_stage(lambda stage: stage.busy_fraction),
        STAGE,
    ),
    _counter("amanuensis_stage_errors_total", "Calls that failed.", _each_stage(lambda stage: stage.errors), STAGE),
    _counter(
        "amanuensis_stage_timeouts_total",
        "Calls that took longer than their budget or deadline.",
        _each_stage(lambda stage: stage.timeouts),
        STAGE,
    ),
    _counter("amanuensis_stage_retries_total", "Calls made again.", _each_stage(lambda stage: stage.retries), STAGE),
    _gauge(
        "amanuensis_stage_success_ratio",
        "Calls that gave a result over all that ended, since the start.",
        _each_stage(lambda stage: stage.success_ratio),
        STAGE,
    ),
    _gauge("amanuensis_stage_calls_in_flight", "Calls under way.", _each_stage(lambda stage: stage.active), STAGE),
    _gauge("amanuensis_stage_replicas", "Replicas the stage should have.", _replicas, STAGE),
    _gauge("amanuensis_breaker_state", "0 closed, 0.5 half open, 1 open.", _breaker_states, STAGE),
    _counter("amanuensis_breaker_openings_total", "Times the breaker opened.", _breaker_openings, STAGE),
    # Encoder and service
    _gauge("amanuensis_encoder_device_info", "1 for the device that encodes.", _encoder_device, ("device",)),
    _gauge("amanuensis_encoder_health", "1 for what the latest probe found.", _encoder_health, ("status",)),
    _counter(
        "amanuensis_encoder_recoveries_total",
        "Failures of the device after which it works again.",
        _encoder_recoveries,
    ),
    _gauge("amanuensis_ready", "1 while requests will be served.", _one(lambda service: float(service.ready))),
    _gauge(
        "amanuensis_pipelined", "0 in sequential mode.", _one(lambda service: float(service.settings.enable_pipeline))
    ),
    # Failure log
    _counter("amanuensis_failure_log_recorded_total", "Failures on disk.", _failure_log("recorded")),
    _counter("amanuensis_failure_log_dropped_total", "Failures that found its backlog full.", _failure_log("dropped")),
    _counter("amanuensis_failure_log_errors_total", "Failures that the disk did not take.", _failure_log("errors")),
    _gauge("amanuensis_failure_log_backlog", "Failures that wait to be written.", _failure_log("backlog")),
)
