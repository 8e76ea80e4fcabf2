"""An OpenTelemetry collector that keeps what it is sent: OTLP over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """A server that keeps the spans it is sent."""

    def __init__(self) -> None:
        spans: list[Span] = []
        services: set[str] = set()
        everything = ExportTraceServiceRequest()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                request = ExportTraceServiceRequest.FromString(body)
                everything.MergeFrom(request)
                for resource in request.resource_spans:
                    services.add(str(attributes(resource.resource.attributes)["service.name"]))
                spans.extend(spans_of(request))
                self._answer(b"")

            def do_GET(self) -> None:
                self._answer(everything.SerializeToString())

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

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


class RemoteCollector:
    """A collector of another process.

    Args:
        url: its base URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def spans(self) -> list[Span]:
        """All spans that it was sent."""
        answer = requests.get(self._url, timeout=5)
        return list(spans_of(ExportTraceServiceRequest.FromString(answer.content)))


def spans_of(request: ExportTraceServiceRequest) -> Iterator[Span]:
    """Yield the spans that a request brings."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


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
