"""The places that hear how each request ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.telemetry.request_log import RequestLog
from deployments.ingress.telemetry.statistics import Statistics
from deployments.shared.errors import AmanuensisError

if TYPE_CHECKING:
    from deployments.ingress.telemetry.traces import Traces


class Sinks:
    """Statistics, request log and, where there is a collector, traces.

    Args:
        otlp_endpoint: base URL of the collector of traces; None where there is none.
    """

    def __init__(self, otlp_endpoint: str | None) -> None:
        self.statistics = Statistics()
        self.request_log = RequestLog()
        self._traces = None if otlp_endpoint is None else _traces(otlp_endpoint)

    def answered(self, record: RequestRecord) -> None:
        """Tell that an audio request got its whole text."""
        record.end()
        self.statistics.answered(record)
        self.request_log.answered(record)
        if self._traces is not None:
            self._traces.ended(record, None)

    def failed(self, error: AmanuensisError, record: RequestRecord | None = None) -> None:
        """Tell that a request was answered with an error; an audio request has a record."""
        if record is not None:
            record.end()
        self.statistics.failed(error, record)
        self.request_log.failed(error, record)
        if self._traces is not None and record is not None:
            self._traces.ended(record, error)

    async def close(self) -> None:
        """Write what is not written yet."""
        self.request_log.flush()
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)


def _traces(endpoint: str) -> Traces:
    # Where there are no traces, nobody pays for the import.
    from deployments.ingress.telemetry.traces import Traces  # noqa: PLC0415

    return Traces(endpoint)
