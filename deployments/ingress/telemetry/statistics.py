"""What the ingress counts and times: the queue, the three stages, the slots. Times in seconds.

Operators see them as JSON (``deployments.ingress.http.statistics``) and as Prometheus series
(``deployments.ingress.http.metrics``).
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque
from typing import Literal

import numpy as np

from deployments.ingress.telemetry.record import Outcome, RequestRecord, outcome_of
from deployments.shared.contracts import StageTiming
from deployments.shared.errors import AmanuensisError, DeadlineExceededError

WINDOW = 2048
"""Percentiles are over this many latest values."""

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
BATCH_SIZES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0)

DropReason = Literal["queue_full", "deadline", "displaced"]


class Histogram:
    """How many values fell between which bounds.

    Attributes:
        bounds: ascending; bucket i holds the values up to ``bounds[i]``, the last bucket those beyond all.
        buckets: how many values each holds, ``len(bounds) + 1`` of them.
        total: sum of all values.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total += value


class Durations(Histogram):
    """A histogram of durations with exact count and extremes, and percentiles of the latest values."""

    def __init__(self) -> None:
        super().__init__(SECONDS)
        self.count = 0
        self.min_s = 0.0
        self.max_s = 0.0
        self._latest: deque[float] = deque(maxlen=WINDOW)

    def add(self, value: float) -> None:
        super().add(value)
        self.min_s = min(self.min_s, value) if self.count else value
        self.max_s = max(self.max_s, value)
        self.count += 1
        self._latest.append(value)

    @property
    def mean_s(self) -> float:
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        return float(np.percentile(list(self._latest), percent)) if self._latest else 0.0


class QueueStatistics:
    """The admission queue and the slots behind it.

    Attributes:
        waits: of the requests that got a slot, for their first one.
        waited: requests that did not get it at once.
        grants: of slots, one a window.
        drops: requests that were refused, or displaced by one of higher priority, by reason.
        timeouts: windows that waited for a slot for as long as the deadline allowed.
    """

    def __init__(self) -> None:
        self.entered = self.timeouts = self.grants = self.waited = 0
        self.waits = Durations()
        self.drops: Counter[DropReason] = Counter()

    def enqueued(self) -> None:
        self.entered += 1

    def dequeued(self, wait_s: float) -> None:
        self.waits.add(wait_s)
        self.waited += wait_s > 0

    def dropped(self, reason: DropReason) -> None:
        self.drops[reason] += 1

    def timed_out(self) -> None:
        self.timeouts += 1

    def slot_granted(self) -> None:
        self.grants += 1

    @property
    def drop_ratio(self) -> float:
        """Dropped requests over all that were offered."""
        dropped = self.drops.total()
        return dropped / (self.entered + dropped) if dropped else 0.0

    @property
    def hit_ratio(self) -> float:
        """Requests that got their first slot at once, over all that got one."""
        return 1 - self.waited / self.waits.count if self.waits.count else 1.0


class StageStatistics:
    """One stage, seen from the ingress: every call, whichever replica took it.

    Attributes:
        active: calls under way.
        calls: of those that gave a result, the time the ingress waited for it, hand-over included.
        runs: of the same calls, the work itself; in a batch, the whole batch.
        queues: of the same calls, the wait inside the replica.
        batch_sizes: of the same calls, how many windows shared the run.
        batches: runs; a float, because each call adds its share of one.
        busy_s: time in which the stage computed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.device = ""
        self.errors = self.timeouts = self.retries = self.active = 0
        self.calls = Durations()
        self.runs = Durations()
        self.queues = Durations()
        self.batch_sizes = Histogram(BATCH_SIZES)
        self.busy_s = 0.0
        self.batches = 0.0
        self._since = time.monotonic()

    def began(self) -> None:
        self.active += 1

    def ended(self) -> None:
        self.active -= 1

    def processed(self, call_s: float, timing: StageTiming) -> None:
        """One call that gave a result; ``call_s`` is the time the ingress waited for it, hand-over included."""
        self.device = timing.device
        self.calls.add(call_s)
        self.runs.add(timing.run_s)
        self.queues.add(timing.queue_s)
        self.batch_sizes.add(timing.batch_size)
        self.busy_s += timing.run_s / timing.batch_size
        self.batches += 1 / timing.batch_size

    def failed(self, error: BaseException) -> None:
        if isinstance(error, DeadlineExceededError):
            self.timeouts += 1
        else:
            self.errors += 1

    def retried(self) -> None:
        """A failed call is made again; the failure is counted too."""
        self.retries += 1

    @property
    def busy_fraction(self) -> float:
        """Share of the time since the start in which this stage computed; above 1 with several replicas."""
        return self.busy_s / max(time.monotonic() - self._since, 1e-9)

    @property
    def mean_batch_size(self) -> float:
        return self.calls.count / self.batches if self.batches else 0.0

    @property
    def success_ratio(self) -> float:
        """Calls that gave a result, over all that ended."""
        total = self.calls.count + self.errors + self.timeouts
        return self.calls.count / total if total else 1.0


class Statistics:
    """Everything one ingress knows about its requests.

    Attributes:
        pending_responses: requests under way in the pipeline.
        requests: of those that were answered, the whole time.
        latencies: of all audio requests, by priority and outcome.
        failures: answers of any route that were errors, by code.
        audio_s, windows: of the requests that were answered.
    """

    def __init__(self) -> None:
        self.queue = QueueStatistics()
        self.mel = StageStatistics("stage1_load_mel")
        self.encoder = StageStatistics("stage2_encoder")
        self.decoder = StageStatistics("stage3_decoder_align")
        self.pending_responses = 0
        self.requests = Durations()
        self.latencies: dict[tuple[str, Outcome], Histogram] = {}
        self.failures: dict[str, int] = {}
        self.audio_s = 0.0
        self.windows = 0

    @property
    def stages(self) -> tuple[StageStatistics, ...]:
        """In the order that a request passes them."""
        return self.mel, self.encoder, self.decoder

    def answered(self, record: RequestRecord) -> None:
        """One request that got its whole text."""
        self.requests.add(record.seconds)
        self.latency(record.priority, "answered").add(record.seconds)
        self.audio_s += record.audio_s
        self.windows += record.windows

    def failed(self, error: AmanuensisError, record: RequestRecord | None) -> None:
        """One request that was answered with an error; ``record`` is of an audio request."""
        self.failures[error.code] = self.failures.get(error.code, 0) + 1
        if record is not None:
            self.latency(record.priority, outcome_of(type(error))).add(record.seconds)

    def latency(self, priority: str, outcome: Outcome) -> Histogram:
        """Seconds from the arrival of an audio request to its end."""
        return self.latencies.setdefault((priority, outcome), Histogram(SECONDS))
