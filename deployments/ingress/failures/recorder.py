"""Writes failures in a thread of its own, behind a bounded backlog: no failure and no disk ever holds up a request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from typing_extensions import TypedDict

from deployments.ingress.failures.log import FailureLog
from deployments.ingress.failures.record import Failure

BACKLOG_RECORDS = 256
BACKLOG_BYTES = 256 * 2**20
COMPLAINT_PERIOD_S = 60.0

logger = logging.getLogger("ray.serve")


class FailureCounts(TypedDict):
    """What became of the failures since the start."""

    recorded: int
    """Failures on disk."""
    dropped: int
    """Failures that found the backlog full."""
    errors: int
    """Failures that the disk did not take."""
    backlog: int
    """Failures that wait to be written."""


class FailureRecorder:
    """The writer between the event loop and a ``FailureLog``. Never blocks; counts what it loses."""

    def __init__(self, log: FailureLog, *, keep_audio: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.log = log
        self.recorded = self.dropped = self.errors = 0
        # Room for its own record beside audio of this size.
        self._max_audio_bytes = log.max_bytes // 2 if keep_audio else 0
        self._clock = clock
        self._complained = -COMPLAINT_PERIOD_S
        self._lock = threading.Lock()
        self._waiting_records = 0
        self._waiting_bytes = 0
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="failure-log")

    def record(self, failure: Failure, audio: bytes) -> None:
        """Hand one failure to the writer; with the audio, and what else is user data, only where those are kept."""
        if not self.log.max_records:
            return
        if not 0 < len(audio) <= self._max_audio_bytes:
            failure, audio = failure.without_user_data(), b""
        if self._enter(len(audio)):
            self._writer.submit(self._write, failure, audio)
            return
        self.dropped += 1
        self._complain(f"Requests fail faster than they can be recorded: {self.dropped} are not in the failure log")

    def close(self) -> None:
        """Wait until everything in the backlog is written."""
        self._writer.shutdown(wait=True)

    @property
    def backlog(self) -> int:
        """Failures that wait to be written."""
        return self._waiting_records

    def as_json(self) -> FailureCounts:
        """Return the counters."""
        return {
            "recorded": self.recorded,
            "dropped": self.dropped,
            "errors": self.errors,
            "backlog": self.backlog,
        }

    def _enter(self, size: int) -> bool:
        with self._lock:
            if self._waiting_records >= BACKLOG_RECORDS or self._waiting_bytes + size > BACKLOG_BYTES:
                return False
            self._waiting_records += 1
            self._waiting_bytes += size
            return True

    def _leave(self, size: int) -> None:
        with self._lock:
            self._waiting_records -= 1
            self._waiting_bytes -= size

    def _write(self, failure: Failure, audio: bytes) -> None:
        try:
            if not self._is_known(failure):
                self.log.add(failure, audio)
                self.recorded += 1
        except Exception as error:  # noqa: BLE001  (nobody waits for this thread's exceptions)
            self.errors += 1
            self._complain(f"The failure log {self.log.directory} takes no records, {self.errors} are lost: {error!r}")
        finally:
            self._leave(len(audio))

    def _is_known(self, failure: Failure) -> bool:
        """Return whether a request that was replayed and failed again is in the log already."""
        return failure.replay_of is not None and self.log.get(failure.replay_of) is not None

    def _complain(self, message: str) -> None:
        """Write to the log at most once per minute, so that a storm of failures does not become one of log lines."""
        now = self._clock()
        if now - self._complained >= COMPLAINT_PERIOD_S:
            self._complained = now
            logger.error("%s", message)
