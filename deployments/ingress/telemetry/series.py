"""Every series of ``/metrics``: what it is called and what it means.

Labels take few values, known beforehand: nothing that a client writes becomes one. Times are in seconds.

Counters and histograms are counted where things happen (``deployments.ingress.telemetry.statistics``). What is a state,
or is counted elsewhere, is read at each scrape (``deployments.ingress.http.metrics``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
BATCH_SIZES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0)

# A series for each counter that tells when it began: the start of the process tells that of all.
disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Series:
    """One series, or one for each combination of its labels.

    Attributes:
        name: as Prometheus stores it; a histogram has ``_bucket``, ``_sum`` and ``_count`` after it.
    """

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    kind: ClassVar[Literal["counter", "gauge", "histogram"]]


class CounterSeries(Series):
    """A number that only grows."""

    kind = "counter"

    def instrument(self, registry: CollectorRegistry) -> Counter:
        """Return the counter of one service."""
        return Counter(self.name, self.meaning, self.labels, registry=registry)

    def family(self) -> CounterMetricFamily:
        """Return an empty family, for a number that is counted elsewhere."""
        return CounterMetricFamily(self.name, self.meaning, labels=self.labels)


class GaugeSeries(Series):
    """A number as it is now."""

    kind = "gauge"

    def family(self) -> GaugeMetricFamily:
        """Return an empty family."""
        return GaugeMetricFamily(self.name, self.meaning, labels=self.labels)


@dataclass(frozen=True, slots=True)
class HistogramSeries(Series):
    """How many values fell between which bounds.

    Attributes:
        bounds: upper bounds of the buckets, ascending; one more bucket holds what is beyond.
    """

    bounds: tuple[float, ...] = SECONDS
    kind = "histogram"

    def instrument(self, registry: CollectorRegistry) -> Histogram:
        """Return the histogram of one service."""
        return Histogram(self.name, self.meaning, self.labels, registry=registry, buckets=self.bounds)


STAGE = ("stage",)

# Requests
REQUESTS = CounterSeries(
    "amanuensis_requests_total",
    "Audio requests answered, and errors of any route, by outcome and error code.",
    ("outcome", "code"),
)
REQUEST_SECONDS = HistogramSeries(
    "amanuensis_request_seconds",
    "Audio requests: time from arrival to the end of the answer.",
    ("priority", "outcome"),
)
AUDIO_SECONDS = CounterSeries("amanuensis_audio_seconds_total", "Audio of the requests answered.")
WINDOWS = CounterSeries("amanuensis_windows_total", "Windows of speech of the requests answered.")
PENDING_RESPONSES = GaugeSeries("amanuensis_pending_responses", "Requests under way in the pipeline.")

# Queue
QUEUE_ENTERED = CounterSeries("amanuensis_queue_entered_total", "Requests that were given a place in the queue.")
QUEUE_DROPPED = CounterSeries(
    "amanuensis_queue_dropped_total", "Requests refused, or displaced from the queue.", ("reason",)
)
QUEUE_TIMEOUTS = CounterSeries(
    "amanuensis_queue_timeouts_total", "Windows that waited for a slot for as long as the deadline allowed."
)
QUEUE_WAIT_SECONDS = HistogramSeries(
    "amanuensis_queue_wait_seconds", "Wait for the first slot, of the requests that got one."
)
QUEUE_WAIT_MIN_SECONDS = GaugeSeries(
    "amanuensis_queue_wait_min_seconds", "Shortest wait for the first slot since the start."
)
QUEUE_WAIT_MAX_SECONDS = GaugeSeries(
    "amanuensis_queue_wait_max_seconds", "Longest wait for the first slot since the start."
)
QUEUE_SIZE = GaugeSeries("amanuensis_queue_size", "Requests that have no slot yet.")
QUEUE_LIMIT = GaugeSeries("amanuensis_queue_limit", "Requests that may wait, beside as many as there are free slots.")
QUEUE_UTILIZATION = GaugeSeries("amanuensis_queue_utilization_ratio", "Queue size over its limit.")
QUEUE_DROP_RATIO = GaugeSeries("amanuensis_queue_drop_ratio", "Requests dropped over all offered, since the start.")

# Slots
SLOTS = GaugeSeries("amanuensis_slots", "Windows that may be in flight.")
SLOTS_IN_USE = GaugeSeries("amanuensis_slots_in_use", "Slots that cannot be granted now.")
SLOTS_GRANTED = CounterSeries("amanuensis_slots_granted_total", "Slots granted, one per window.")
SLOT_WAITS = CounterSeries("amanuensis_slot_waits_total", "Requests that did not get their first slot at once.")
SLOT_HIT_RATIO = GaugeSeries(
    "amanuensis_slot_hit_ratio",
    "Requests that got their first slot at once over all that got one, since the start.",
)

# Stages
STAGE_CALL_SECONDS = HistogramSeries(
    "amanuensis_stage_call_seconds",
    "Calls that gave a result: time the ingress waited, handoff included.",
    STAGE,
)
STAGE_CALL_MIN_SECONDS = GaugeSeries("amanuensis_stage_call_min_seconds", "Shortest call since the start.", STAGE)
STAGE_CALL_MAX_SECONDS = GaugeSeries("amanuensis_stage_call_max_seconds", "Longest call since the start.", STAGE)
STAGE_RUN_SECONDS = HistogramSeries(
    "amanuensis_stage_run_seconds", "The same calls: the work itself; in a batch, the whole batch.", STAGE
)
STAGE_QUEUE_SECONDS = HistogramSeries(
    "amanuensis_stage_queue_seconds", "The same calls: wait inside the replica.", STAGE
)
STAGE_BATCH_WINDOWS = HistogramSeries(
    "amanuensis_stage_batch_windows",
    "The same calls: windows in the batch that each ran in.",
    STAGE,
    BATCH_SIZES,
)
STAGE_BATCHES = CounterSeries("amanuensis_stage_batches_total", "Batches run.", STAGE)
STAGE_BUSY_SECONDS = CounterSeries(
    "amanuensis_stage_busy_seconds_total", "Time in which the stage computed, summed over its replicas.", STAGE
)
STAGE_BUSY_RATIO = GaugeSeries(
    "amanuensis_stage_busy_ratio",
    "Share of the time since the start in which the stage computed; above 1 with several replicas.",
    STAGE,
)
STAGE_ERRORS = CounterSeries("amanuensis_stage_errors_total", "Calls that failed.", STAGE)
STAGE_TIMEOUTS = CounterSeries(
    "amanuensis_stage_timeouts_total", "Calls that took longer than their budget or deadline.", STAGE
)
STAGE_RETRIES = CounterSeries("amanuensis_stage_retries_total", "Calls made again.", STAGE)
STAGE_SUCCESS_RATIO = GaugeSeries(
    "amanuensis_stage_success_ratio",
    "Calls that gave a result over all that ended, since the start.",
    STAGE,
)
STAGE_CALLS_IN_FLIGHT = GaugeSeries("amanuensis_stage_calls_in_flight", "Calls under way.", STAGE)
STAGE_REPLICAS = GaugeSeries("amanuensis_stage_replicas", "Replicas that answered when they were last asked.", STAGE)
BREAKER_STATE = GaugeSeries("amanuensis_breaker_state", "0 closed, 0.5 half open, 1 open.", STAGE)
BREAKER_OPENINGS = CounterSeries("amanuensis_breaker_openings_total", "Times the breaker opened.", STAGE)

# Encoder and service
ENCODER_DEVICE = GaugeSeries("amanuensis_encoder_device_info", "1 for the device that encodes.", ("device",))
ENCODER_HEALTH = GaugeSeries("amanuensis_encoder_health", "1 for what the latest probe found.", ("status",))
ENCODER_RECOVERIES = CounterSeries(
    "amanuensis_encoder_recoveries_total", "Failures of the device after which it works again."
)
START_TIME_SECONDS = GaugeSeries(
    "amanuensis_start_time_seconds",
    "When the Ingress started, in seconds since the epoch: since then all counters count, anew after each restart.",
)
READY = GaugeSeries("amanuensis_ready", "1 while requests will be served.")
PIPELINED = GaugeSeries("amanuensis_pipelined", "0 in sequential mode.")

# Live transcription
LIVE_SESSIONS = GaugeSeries("amanuensis_live_sessions", "Live sessions that are open.")
LIVE_UTTERANCES = CounterSeries(
    "amanuensis_live_utterances_total", "Utterances of live sessions, by outcome.", ("outcome",)
)
LIVE_PARTIALS = CounterSeries(
    "amanuensis_live_partials_total",
    "Transcriptions of utterances that were still spoken, by outcome.",
    ("outcome",),
)
LIVE_TEXT_SECONDS = HistogramSeries(
    "amanuensis_live_text_seconds", "Utterances answered: time from the end of the speech to its whole text."
)

# Jobs
JOBS = GaugeSeries("amanuensis_jobs", "Jobs on disk, by status.", ("status",))
JOBS_ENDED = CounterSeries("amanuensis_jobs_ended_total", "Jobs that ended, by status.", ("status",))

# Failure log
FAILURES_RECORDED = CounterSeries("amanuensis_failure_log_recorded_total", "Failures on disk.")
FAILURES_DROPPED = CounterSeries("amanuensis_failure_log_dropped_total", "Failures that found its backlog full.")
FAILURES_ERRORS = CounterSeries("amanuensis_failure_log_errors_total", "Failures that the disk did not take.")
FAILURES_BACKLOG = GaugeSeries("amanuensis_failure_log_backlog", "Failures that wait to be written.")
