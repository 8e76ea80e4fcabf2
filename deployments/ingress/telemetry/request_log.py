"""The request log: a line of JSON for each request that got a slot, and one per second that counts all others.

A request that got no slot is only counted: refusing costs the service nearly nothing, and the log must not cost more.
No line holds what was said, a prompt or a key. The lines reach Serve's log of the ingress replica, as those of every
logger below ``ray.serve`` do.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from typing import Any

from deployments.ingress.telemetry.record import RequestRecord
from deployments.shared.errors import AmanuensisError

PERIOD_S = 1.0
ANSWERED_STATUS, ANSWERED_CODE = 200, "ok"

logger = logging.getLogger("ray.serve.requests")


class RequestLog:
    """Lives in the ingress's event loop; not thread-safe."""

    def __init__(self) -> None:
        self._turned_away: Counter[str] = Counter()
        self._flush: asyncio.TimerHandle | None = None

    def answered(self, record: RequestRecord) -> None:
        """Write the line of a request that got its whole text."""
        _write(_line(record, ANSWERED_STATUS, ANSWERED_CODE))

    def failed(self, error: AmanuensisError, record: RequestRecord | None) -> None:
        """Write the line of a request that was answered with an error, or count it; an audio request has a record."""
        if record is not None and record.queue_s is not None:
            _write(_line(record, error.status, error.code))
            return
        self._turned_away[error.code] += 1
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(PERIOD_S, self.flush)

    def flush(self) -> None:
        """Write what was counted since the last line of the kind."""
        if self._flush is None:
            return
        self._flush.cancel()
        self._flush = None
        _write({"turned_away": dict(self._turned_away)})
        self._turned_away.clear()


def _line(record: RequestRecord, status: int, code: str) -> dict[str, Any]:
    return {
        "id": record.request_id,
        "client": record.client,
        "priority": record.priority,
        "status": status,
        "code": code,
        "seconds": round(record.seconds, 4),
        "queue_seconds": None if record.queue_s is None else round(record.queue_s, 4),
        "stage_seconds": {stage: round(seconds, 4) for stage, seconds in record.stage_s.items()},
        "audio_seconds": round(record.audio_s, 3),
        "windows": record.windows,
        "retries": record.retries,
        "device": record.device,
    }


def _write(document: dict[str, Any]) -> None:
    if logger.isEnabledFor(logging.INFO):
        logger.info("%s", json.dumps(document))
