"""The record of an audio request, from its arrival to its end, whatever the end is."""

from __future__ import annotations

from starlette.requests import Request

from deployments.ingress.http.context import note_failure, record_of, request_id_of
from deployments.ingress.telemetry.record import RequestRecord
from deployments.shared.errors import ClientDisconnectedError


def begin_record(request: Request) -> RequestRecord:
    """From here on, the end of ``request`` is told to the statistics and the request log."""
    record = RequestRecord(request_id_of(request), request.state.client, request.headers.get("traceparent"))
    request.state.record = record
    return record


def end_abandoned(request: Request) -> None:
    """Ends the record of a request that was cancelled: its client is gone."""
    record = record_of(request)
    if record is not None and not record.ended:
        note_failure(
            request, ClientDisconnectedError("the client closed the connection before its answer was complete")
        )
