"""An OpenTelemetry collector that keeps what it is sent: OTLP over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """A server that keeps the spans it is sent."""

    def __init__(self) -> None:
        spans: list[Span] = []
        services: set[str] = set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    services.add(str(attributes(resource.resource.attributes)["service.name"]))
                    spans.extend(span for scope in resource.scope_spans for span in scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.spans, self.services = spans, services
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def root(self) -> Span:
        (span,) = (span for span in self.spans if span.name == "transcription")
        return span

    def steps(self, name: str) -> list[Span]:
        """In the order of their windows."""
        spans = [span for span in self.spans if span.name == name]
        return sorted(spans, key=lambda span: float(attributes(span.attributes)["amanuensis.window"]))


def attributes(pairs: Iterable[KeyValue]) -> dict[str, str | float]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens for as long as the context lasts."""
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        thread.join()
        collector.server.server_close()
