"""What the ingress counts and times: requests, the queue, the slots, the three stages. Times in seconds.

Everything is counted once, in the instruments of Prometheus' client library, in a registry of the service's own.
Operators see it as Prometheus series (``deployments.ingress.http.metrics``) and, read back from the same instruments,
as JSON (``deployments.ingress.http.statistics``).
"""

from __future__ import annotations

import time
from collections import Counter as Multiset
from datetime import UTC, datetime
from itertools import product
from typing import Literal, get_args

from prometheus_client import CollectorRegistry

from deployments.ingress.request import Priority
from deployments.ingress.telemetry import series
from deployments.ingress.telemetry.live import LiveStatistics
from deployments.ingress.telemetry.record import OUTCOMES, Outcome, RequestRecord, outcome_of
from deployments.ingress.telemetry.request_log import ANSWERED_CODE
from deployments.ingress.telemetry.tally import Recent, Tally, count_of, tally_of, value_of
from deployments.shared.contracts import StageTiming
from deployments.shared.errors import AmanuensisError, DeadlineExceededError

DropReason = Literal["queue_full", "deadline", "displaced"]


class QueueStatistics:
    """The admission queue and the slots behind it.

    Attributes:
        recent_waits: waits for the first slot, of the requests that got one.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._entered = series.QUEUE_ENTERED.instrument(registry)
        self._timeouts = series.QUEUE_TIMEOUTS.instrument(registry)
        self._grants = series.SLOTS_GRANTED.instrument(registry)
        self._waited = series.SLOT_WAITS.instrument(registry)
        self._waits = series.QUEUE_WAIT_SECONDS.instrument(registry)
        dropped = series.QUEUE_DROPPED.instrument(registry)
        self._drops = {reason: dropped.labels(reason) for reason in get_args(DropReason)}
        self.recent_waits = Recent()

    def enqueued(self) -> None:
        """Count a request that was given a place in the queue."""
        self._entered.inc()

    def dequeued(self, wait_s: float) -> None:
        """Count a request that got its first slot."""
        self._waits.observe(wait_s)
        self.recent_waits.add(wait_s)
        if wait_s > 0:
            self._waited.inc()

    def dropped(self, reason: DropReason) -> None:
        """Count a request that was refused, or displaced by one of higher priority."""
        self._drops[reason].inc()

    def timed_out(self) -> None:
        """Count a window that waited for a slot for as long as the deadline allowed."""
        self._timeouts.inc()

    def slot_granted(self) -> None:
        """Count a slot that was given to a window."""
        self._grants.inc()

    @property
    def entered(self) -> int:
        """Requests that were given a place in the queue."""
        return count_of(self._entered)

    @property
    def timeouts(self) -> int:
        """Windows that waited for a slot for as long as the deadline allowed."""
        return count_of(self._timeouts)

    @property
    def grants(self) -> int:
        """Slots granted, one per window."""
        return count_of(self._grants)

    @property
    def waited(self) -> int:
        """Requests that did not get their first slot at once."""
        return count_of(self._waited)

    @property
    def waits(self) -> Tally:
        """Waits for the first slot, of the requests that got one."""
        return tally_of(self._waits)

    @property
    def drops(self) -> Multiset[DropReason]:
        """Requests that were refused or displaced, by reason."""
        return Multiset({reason: count for reason, counter in self._drops.items() if (count := count_of(counter))})

    @property
    def drop_ratio(self) -> float:
        """Dropped requests over all that were offered."""
        dropped = self.drops.total()
        return dropped / (self.entered + dropped) if dropped else 0.0

    @property
    def hit_ratio(self) -> float:
        """Requests that got their first slot at once, over all that got one."""
        waits = self.waits.count
        return 1 - self.waited / waits if waits else 1.0


class _StageInstruments:
    """What is counted of each stage, under the label ``stage``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = series.STAGE_CALL_SECONDS.instrument(registry)
        self.runs = series.STAGE_RUN_SECONDS.instrument(registry)
        self.queues = series.STAGE_QUEUE_SECONDS.instrument(registry)
        self.batch_sizes = series.STAGE_BATCH_WINDOWS.instrument(registry)
        self.batches = series.STAGE_BATCHES.instrument(registry)
        self.busy_s = series.STAGE_BUSY_SECONDS.instrument(registry)
        self.errors = series.STAGE_ERRORS.instrument(registry)
        self.timeouts = series.STAGE_TIMEOUTS.instrument(registry)
        self.retries = series.STAGE_RETRIES.instrument(registry)


class StageStatistics:
    """One stage, seen from the ingress: every call, whichever replica took it.

    Attributes:
        active: calls under way.
        recent_calls: durations of the calls that gave a result.
    """

    def __init__(self, name: str, instruments: _StageInstruments) -> None:
        self.name = name
        self.active = 0
        self.recent_calls = Recent()
        self._calls = instruments.calls.labels(name)
        self._runs = instruments.runs.labels(name)
        self._queues = instruments.queues.labels(name)
        self._batch_sizes = instruments.batch_sizes.labels(name)
        self._batches = instruments.batches.labels(name)
        self._busy_s = instruments.busy_s.labels(name)
        self._errors = instruments.errors.labels(name)
        self._timeouts = instruments.timeouts.labels(name)
        self._retries = instruments.retries.labels(name)
        self._since = time.monotonic()

    def began(self) -> None:
        """Note that a call is under way."""
        self.active += 1

    def ended(self) -> None:
        """Note that a call is not under way any more."""
        self.active -= 1

    def processed(self, call_s: float, timing: StageTiming) -> None:
        """Count a call that gave a result; ``call_s`` is the time the ingress waited for it, handoff included."""
        self._calls.observe(call_s)
        self.recent_calls.add(call_s)
        self._runs.observe(timing.run_s)
        self._queues.observe(timing.queue_s)
        self._batch_sizes.observe(timing.batch_size)
        self._busy_s.inc(timing.run_s / timing.batch_size)
        self._batches.inc(1 / timing.batch_size)

    def failed(self, error: BaseException) -> None:
        """Count a call that gave no result."""
        (self._timeouts if isinstance(error, DeadlineExceededError) else self._errors).inc()

    def retried(self) -> None:
        """Count a failed call that is made again; the failure is counted too."""
        self._retries.inc()

    @property
    def errors(self) -> int:
        """Calls that failed."""
        return count_of(self._errors)

    @property
    def timeouts(self) -> int:
        """Calls that took longer than their budget or deadline."""
        return count_of(self._timeouts)

    @property
    def retries(self) -> int:
        """Calls made again."""
        return count_of(self._retries)

    @property
    def calls(self) -> Tally:
        """Calls that gave a result: the time the ingress waited, handoff included."""
        return tally_of(self._calls)

    @property
    def runs(self) -> Tally:
        """The same calls: the work itself; in a batch, the whole batch."""
        return tally_of(self._runs)

    @property
    def queues(self) -> Tally:
        """The same calls: the wait inside the replica."""
        return tally_of(self._queues)

    @property
    def busy_s(self) -> float:
        """Time in which the stage computed, summed over its replicas."""
        return value_of(self._busy_s)

    @property
    def busy_fraction(self) -> float:
        """Share of the time since the start in which the stage computed; above 1 with several replicas."""
        return self.busy_s / max(time.monotonic() - self._since, 1e-9)

    @property
    def mean_batch_size(self) -> float:
        """Windows per batch; each call has counted its share of one."""
        batches = value_of(self._batches)
        return self.calls.count / batches if batches else 0.0

    @property
    def success_ratio(self) -> float:
        """Calls that gave a result, over all that ended."""
        calls = self.calls.count
        total = calls + self.errors + self.timeouts
        return calls / total if total else 1.0


class Statistics:
    """Everything one ingress knows about its requests.

    Attributes:
        registry: holds all instruments.
        started_at: the moment since which everything is counted.
        pending_responses: requests under way in the pipeline.
        recent_requests: durations of the requests that were answered.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.started_at = datetime.now(UTC)
        self.queue = QueueStatistics(self.registry)
        self.live = LiveStatistics(self.registry)
        instruments = _StageInstruments(self.registry)
        self.mel = StageStatistics("stage1_load_mel", instruments)
        self.encoder = StageStatistics("stage2_encoder", instruments)
        self.decoder = StageStatistics("stage3_decoder_align", instruments)
        self.diarizer = StageStatistics("diarizer", instruments)
        self.pending_responses = 0
        self.recent_requests = Recent()
        ended = series.REQUESTS.instrument(self.registry)
        self._answered = ended.labels("answered", ANSWERED_CODE)
        self._failed = {code: ended.labels(outcome, code) for code, outcome in OUTCOMES.items()}
        seconds = series.REQUEST_SECONDS.instrument(self.registry)
        labels = product((priority.label for priority in Priority), get_args(Outcome))
        self._seconds = {pair: seconds.labels(*pair) for pair in labels}
        self._audio_s = series.AUDIO_SECONDS.instrument(self.registry)
        self._windows = series.WINDOWS.instrument(self.registry)

    def answered(self, record: RequestRecord) -> None:
        """Count a request that got its whole text."""
        self._answered.inc()
        self._seconds[record.priority, "answered"].observe(record.seconds)
        self.recent_requests.add(record.seconds)
        self._audio_s.inc(record.audio_s)
        self._windows.inc(record.windows)

    def failed(self, error: AmanuensisError, record: RequestRecord | None) -> None:
        """Count a request that was answered with an error; an audio request has a record."""
        self._failed[error.code].inc()
        if record is not None:
            self._seconds[record.priority, outcome_of(type(error))].observe(record.seconds)

    @property
    def stages(self) -> tuple[StageStatistics, ...]:
        """The three stages, in the order that a request passes them."""
        return self.mel, self.encoder, self.decoder

    @property
    def stages_and_diarizer(self) -> tuple[StageStatistics, ...]:
        """The three stages, and what tells speakers apart beside them."""
        return *self.stages, self.diarizer

    @property
    def requests(self) -> Tally:
        """Requests that were answered: the whole time."""
        return tally_of(*(histogram for (_, outcome), histogram in self._seconds.items() if outcome == "answered"))

    @property
    def failures(self) -> dict[str, int]:
        """Answers of any route that were errors, by code."""
        return {code: count for code, counter in self._failed.items() if (count := count_of(counter))}

    @property
    def audio_s(self) -> float:
        """Audio of the requests that were answered."""
        return value_of(self._audio_s)
