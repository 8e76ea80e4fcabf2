"""What the ingress counts and times: the queue, the three stages, the slots. Times in seconds.

The JSON shapes are the prototype's (``/stats/pipeline``, ``/stats/stages``), kept for its users.
"""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from deployments.contracts import StageTiming
from deployments.errors import DeadlineExceededError

WINDOW = 2048
"""Percentiles are over this many latest values."""

Json = dict[str, float | int | str]


class Durations:
    """Running summary of a duration: exact count, sum and extremes; percentiles of the latest values."""

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self.min_s = 0.0
        self.max_s = 0.0
        self._latest: deque[float] = deque(maxlen=WINDOW)

    def add(self, seconds: float) -> None:
        self.min_s = min(self.min_s, seconds) if self.count else seconds
        self.max_s = max(self.max_s, seconds)
        self.count += 1
        self.total_s += seconds
        self._latest.append(seconds)

    @property
    def mean_s(self) -> float:
        return self.total_s / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        return float(np.percentile(list(self._latest), percent)) if self._latest else 0.0


class QueueStatistics:
    """The admission queue and the slots behind it."""

    def __init__(self) -> None:
        self._enqueued = self._dropped = self._timeouts = self._grants = 0
        self._waits = Durations()
        self._waited = 0

    def enqueued(self) -> None:
        self._enqueued += 1

    def dequeued(self, wait_s: float) -> None:
        self._waits.add(wait_s)
        self._waited += wait_s > 0

    def dropped(self) -> None:
        self._dropped += 1

    def timed_out(self) -> None:
        self._timeouts += 1

    def slot_granted(self) -> None:
        self._grants += 1

    @property
    def mean_wait_s(self) -> float:
        return self._waits.mean_s

    def queue(self, current_size: int, max_size: int) -> Json:
        offered = self._enqueued + self._dropped
        return {
            "total_enqueued": self._enqueued,
            "total_dequeued": self._waits.count,
            "total_dropped": self._dropped,
            "total_timeouts": self._timeouts,
            "current_size": current_size,
            "avg_wait_time": self._waits.mean_s,
            "min_wait_time": self._waits.min_s,
            "max_wait_time": self._waits.max_s,
            "p99_wait_time": self._waits.percentile(99),
            "utilization": current_size / max_size if max_size else 0.0,
            "drop_rate": self._dropped / offered if offered else 0.0,
        }

    def buffers(self, slots: int, in_use: int) -> Json:
        served = self._waits.count
        return {
            "slots": slots,
            "in_use": in_use,
            "total_granted": self._grants,
            "waits": self._waited,
            "hit_rate": 1 - self._waited / served if served else 1.0,
        }


class StageStatistics:
    """One stage, seen from the ingress: every call, whichever replica took it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.device = ""
        self._errors = self._timeouts = self._retries = self._active = 0
        self._calls = Durations()
        self._runs = Durations()
        self._queues = Durations()
        self._busy_s = 0.0
        self._batches = 0.0
        self._since = time.monotonic()

    def began(self) -> None:
        self._active += 1

    def ended(self) -> None:
        self._active -= 1

    def processed(self, call_s: float, timing: StageTiming) -> None:
        """One call that gave a result; ``call_s`` is the time the ingress waited for it, hand-over included."""
        self.device = timing.device
        self._calls.add(call_s)
        self._runs.add(timing.run_s)
        self._queues.add(timing.queue_s)
        self._busy_s += timing.run_s / timing.batch_size
        self._batches += 1 / timing.batch_size

    def failed(self, error: BaseException) -> None:
        if isinstance(error, DeadlineExceededError):
            self._timeouts += 1
        else:
            self._errors += 1

    def retried(self) -> None:
        """A failed call is made again; the failure is counted too."""
        self._retries += 1

    @property
    def busy_fraction(self) -> float:
        """Share of the time since the start in which this stage computed; above 1 with several replicas."""
        return self._busy_s / max(time.monotonic() - self._since, 1e-9)

    @property
    def mean_batch_size(self) -> float:
        return self._calls.count / self._batches if self._batches else 0.0

    def as_json(self, replicas: int) -> Json:
        total = self._calls.count + self._errors + self._timeouts
        return {
            "total_processed": self._calls.count,
            "total_errors": self._errors,
            "total_timeouts": self._timeouts,
            "total_retries": self._retries,
            "avg_time": self._calls.mean_s,
            "min_time": self._calls.min_s,
            "max_time": self._calls.max_s,
            "p50_time": self._calls.percentile(50),
            "p99_time": self._calls.percentile(99),
            "avg_run_time": self._runs.mean_s,
            "avg_queue_time": self._queues.mean_s,
            "busy_time": self._busy_s,
            "busy_fraction": self.busy_fraction,
            "batch_size_avg": self.mean_batch_size,
            "input_queue_size": self._active,
            "workers_active": replicas,
            "success_rate": self._calls.count / total if total else 1.0,
        }


class Statistics:
    """Everything one ingress knows about its requests."""

    def __init__(self) -> None:
        self.queue = QueueStatistics()
        self.mel = StageStatistics("stage1_load_mel")
        self.encoder = StageStatistics("stage2_encoder")
        self.decoder = StageStatistics("stage3_decoder_align")
        self.pending_responses = 0
        self.requests = Durations()
        self.failures: dict[str, int] = {}
        self.audio_s = 0.0

    @property
    def stages(self) -> tuple[StageStatistics, ...]:
        """In the order that a request passes them."""
        return self.mel, self.encoder, self.decoder

    def answered(self, seconds: float, audio_s: float) -> None:
        """One request that got its whole text, after ``seconds``."""
        self.requests.add(seconds)
        self.audio_s += audio_s

    def failed(self, code: str) -> None:
        """One request that was answered with an error of this ``code``."""
        self.failures[code] = self.failures.get(code, 0) + 1
