"""Traces: a span for each request and, below it, one for each of its waits, for a slot or for a stage.

The ingress knows all of it when a request has ended, so the stages take no part: what they say of a call are attributes
of its span. A request that got no slot leaves no trace: refusing costs the service nearly nothing, and this must not
cost more. No span holds what was said, a prompt or a key.
"""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from deployments.ingress.telemetry.record import QUEUE, RequestRecord, Step
from deployments.ingress.telemetry.request_log import ANSWERED_CODE
from deployments.shared.errors import AmanuensisError, InternalError

SERVICE = "amanuensis"
PATH = "/v1/traces"

Attributes = dict[str, str | float]


class Traces:
    """Told by the ingress's event loop; sent by a thread, in batches. Where the collector is slow, spans are dropped.

    Args:
        endpoint: base URL of the collector.
    """

    def __init__(self, endpoint: str) -> None:
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: SERVICE}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint.rstrip("/") + PATH)))
        self._tracer = self._provider.get_tracer(SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    def ended(self, record: RequestRecord, error: AmanuensisError | None) -> None:
        """Trace a request that was answered, with ``error`` if any, below the client's own span if it sent one."""
        if record.queue_s is None:
            return
        caller = {} if record.traceparent is None else {"traceparent": record.traceparent}
        root = self._tracer.start_span(
            "transcription",
            self._propagator.extract(caller, Context()),
            SpanKind.SERVER,
            _of_request(record, error),
            start_time=_nanoseconds(record.received),
        )
        if root.is_recording():
            below = set_span_in_context(root, Context())
            for step in record.steps:
                self._step(step, below)
        if error is not None and error.status >= InternalError.status:
            root.set_status(StatusCode.ERROR, error.code)
        root.end(_nanoseconds(record.received + record.seconds))

    def close(self) -> None:
        """Send what is left; a collector that is gone holds this up for ten seconds at most."""
        self._provider.shutdown()

    def _step(self, step: Step, below: Context) -> None:
        span = self._tracer.start_span(step.name, below, attributes=_of_step(step), start_time=_nanoseconds(step.began))
        if step.name != QUEUE and step.timing is None:
            span.set_status(StatusCode.ERROR)
        span.end(_nanoseconds(step.began + step.seconds))


def _of_request(record: RequestRecord, error: AmanuensisError | None) -> Attributes:
    return {
        "amanuensis.request_id": record.request_id,
        "amanuensis.client": record.client,
        "amanuensis.priority": record.priority,
        "amanuensis.code": ANSWERED_CODE if error is None else error.code,
        "amanuensis.audio_seconds": record.audio_s,
        "amanuensis.windows": record.windows,
        "amanuensis.retries": record.retries,
    }


def _of_step(step: Step) -> Attributes:
    attributes: Attributes = {"amanuensis.window": step.window}
    if step.attempts:
        attributes["amanuensis.attempts"] = step.attempts
    if step.timing is not None:
        attributes |= {
            "amanuensis.replica": step.timing.replica,
            "amanuensis.device": step.timing.device,
            "amanuensis.batch_windows": step.timing.batch_size,
            "amanuensis.replica_queue_seconds": step.timing.queue_s,
            "amanuensis.run_seconds": step.timing.run_s,
        }
    return attributes


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
