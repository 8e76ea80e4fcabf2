"""What an operator and a client library look at: health, statistics, models, documentation."""

from __future__ import annotations

import pytest
import requests
from openai import OpenAI
from openapi_spec_validator import validate
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.paths import AUDIO
from tests.support.service_helpers import wait_until
from tests.support.trace_collector import RemoteCollector, attributes


def get(service: str, path: str) -> requests.Response:
    return requests.get(f"{service}{path}", timeout=5)


def test_health_tells_the_device_and_the_notice(service: str) -> None:
    health = get(service, "/health").json()
    assert health["status"] == "healthy"
    assert health["device"].startswith("cpu:openvino")
    assert health["handoff"] == "shared_memory"
    assert "synthesisers" in health["notice"]
    assert get(service, "/object-store/health").json()["handoff"] == "object_store"
    assert get(service, "/sequential/health").json()["mode"] == "sequential"
    assert get(service, "/sequential/health/pipeline").json()["status"] == "disabled"
    assert get(service, "/health/live").json() == {"status": "live"}
    assert get(service, "/health/ready").json()["status"] == "ready"
    assert set(get(service, "/health/pipeline").json()["stages"]) == {
        "stage1_load_mel",
        "stage2_encoder",
        "stage3_decoder_align",
    }


def test_every_response_names_the_device_and_the_request(service: str) -> None:
    headers = {"x-request-id": "my-own-id"}
    with (AUDIO / "01_espeak-plain.wav").open("rb") as file:
        url = f"{service}/v1/audio/transcriptions"
        answer = requests.post(url, files={"file": file}, headers=headers, timeout=30)
    assert answer.headers["x-encoder-device"].startswith("cpu:openvino")
    assert answer.headers["x-request-id"] == "my-own-id"
    missing = get(service, "/nothing")
    assert missing.headers["x-encoder-device"].startswith("cpu:openvino")
    assert "," not in missing.headers["x-request-id"]


def test_the_model_is_listed(client: OpenAI) -> None:
    models = {model.id for model in client.models.list()}
    assert models == {"demo-en", "whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"}
    assert client.models.retrieve("demo-en").id == "demo-en"


def test_statistics_have_the_prototypes_shape(service: str) -> None:
    pipeline = get(service, "/stats/pipeline").json()
    assert set(pipeline) == {"queue", "stage1", "stage2", "stage3", "buffers", "encoder", "pipeline"}
    assert {
        "total_enqueued", "total_dequeued", "total_dropped", "total_timeouts", "current_size", "avg_wait_time",
        "min_wait_time", "max_wait_time", "p99_wait_time", "utilization", "drop_rate",
    } <= set(pipeline["queue"])  # fmt: skip
    for stage in ("stage1", "stage2", "stage3"):
        assert {
            "total_processed", "total_errors", "total_timeouts", "avg_time", "min_time", "max_time",
            "input_queue_size", "workers_active", "success_rate",
        } <= set(pipeline[stage])  # fmt: skip
    assert pipeline["pipeline"]["running"] is True
    assert pipeline["buffers"]["in_use"] == 0
    assert set(get(service, "/stats").json()) == {"started_at", "requests", "failure_log", "pipeline", "stages"}


@pytest.mark.parametrize(
    ("route", "replicas"), [("", [1, 1, 1]), ("/object-store", [1, 2, 1]), ("/npu", [1, 1, 2])], ids=str
)
def test_the_replicas_that_are_shown_are_those_that_run(service: str, route: str, replicas: list[int]) -> None:
    def shown() -> list[int]:
        return [stage["workers_active"] for stage in get(service, f"{route}/stats/stages").json().values()]

    wait_until(lambda: shown() == replicas, 120)  # other tests may have killed one just now


def test_prometheus_can_scrape_it(service: str) -> None:
    answer = get(service, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "\namanuensis_ready 1.0\n" in answer.text


def test_the_documentation_is_served_and_valid(service: str) -> None:
    validate(get(service, "/openapi.json").json())
    page = get(service, "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "/v1/audio/transcriptions" in page.text


def test_a_trace_begins_at_the_client_and_shows_every_stage(service: str, collector: RemoteCollector) -> None:
    trace, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with (AUDIO / "01_espeak-plain.wav").open("rb") as file:
        url = f"{service}/object-store/v1/audio/transcriptions"
        headers = {"traceparent": f"00-{trace}-{caller}-01"}
        assert requests.post(url, files={"file": file}, headers=headers, timeout=30).ok

    def seen() -> dict[str, Span]:
        return {span.name: span for span in collector.spans if span.trace_id.hex() == trace}

    wait_until(lambda: "transcription" in seen(), 10)
    spans = seen()
    assert spans["transcription"].parent_span_id.hex() == caller
    replicas = {name: attributes(span.attributes).get("amanuensis.replica") for name, span in spans.items()}
    stages = {"stage1_load_mel", "stage2_encoder", "stage3_decoder_align"}
    assert set(spans) == {"transcription", "queue", *stages}
    assert len({replicas[stage] for stage in stages} - {None}) == len(stages)
