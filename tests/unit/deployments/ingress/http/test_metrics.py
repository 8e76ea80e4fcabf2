"""/metrics shows every statistic, follows the requests, and takes no label from a client."""

import asyncio
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from deployments.ingress.http.routes import create_app
from deployments.ingress.telemetry.record import OUTCOMES, outcome_of
from deployments.shared.errors import (
    AmanuensisError,
    DrainingError,
    InvalidAudioError,
    QueueTimeoutError,
    ServiceUnavailableError,
)
from tests.support.errors import all_errors
from tests.support.http_service import FILE, BrokenStages, post, service, wait_until
from tests.support.observability import SERIES
from tests.support.scripted_stages import ScriptedStages

Key = tuple[str, frozenset[tuple[str, str]]]
STAGES = ("stage1_load_mel", "stage2_encoder", "stage3_decoder_align")
LATENCY = "amanuensis_request_seconds"

QUEUE = {
    "total_enqueued": "amanuensis_queue_entered_total",
    "total_dequeued": "amanuensis_queue_wait_seconds_count",
    "total_timeouts": "amanuensis_queue_timeouts_total",
    "current_size": "amanuensis_queue_size",
    "min_wait_time": "amanuensis_queue_wait_min_seconds",
    "max_wait_time": "amanuensis_queue_wait_max_seconds",
    "utilization": "amanuensis_queue_utilization_ratio",
    "drop_rate": "amanuensis_queue_drop_ratio",
}
BUFFERS = {
    "slots": "amanuensis_slots",
    "in_use": "amanuensis_slots_in_use",
    "total_granted": "amanuensis_slots_granted_total",
    "waits": "amanuensis_slot_waits_total",
    "hit_rate": "amanuensis_slot_hit_ratio",
}
STAGE = {
    "total_processed": "amanuensis_stage_call_seconds_count",
    "total_errors": "amanuensis_stage_errors_total",
    "total_timeouts": "amanuensis_stage_timeouts_total",
    "total_retries": "amanuensis_stage_retries_total",
    "min_time": "amanuensis_stage_call_min_seconds",
    "max_time": "amanuensis_stage_call_max_seconds",
    "busy_time": "amanuensis_stage_busy_seconds_total",
    "input_queue_size": "amanuensis_stage_calls_in_flight",
    "workers_active": "amanuensis_stage_replicas",
    "success_rate": "amanuensis_stage_success_ratio",
}
MEANS = {
    "avg_time": "amanuensis_stage_call_seconds",
    "avg_run_time": "amanuensis_stage_run_seconds",
    "avg_queue_time": "amanuensis_stage_queue_seconds",
}


class Scrape:
    """What Prometheus reads from one answer."""

    def __init__(self, client: TestClient) -> None:
        answer = client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        self.families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        self.values: dict[Key, float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.values[name, frozenset(labels.items())]

    def growing(self) -> dict[Key, float]:
        """Counters, and all that a histogram is made of."""
        names = {
            sample.name
            for family in self.families.values()
            if family.type in {"counter", "histogram"}
            for sample in family.samples
        }
        return {key: value for key, value in self.values.items() if key[0] in names and key[0].startswith("amanuensis")}


def wait_for_encoder(client: TestClient) -> None:
    """Until it was probed."""
    until = time.monotonic() + 10
    while client.get("/health/ready").status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(service(ScriptedStages(3), tmp_path))) as running:
        wait_for_encoder(running)
        yield running


def test_every_series_is_there_from_the_start(client: TestClient) -> None:
    scrape = Scrape(client)
    for series in SERIES:
        name = series.name.removesuffix("_total") if series.kind == "counter" else series.name
        family = scrape.families[name]
        assert family.type == series.kind, series.name
        assert family.documentation.endswith(".")
        labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert labels == {frozenset(series.labels)}, series.name
    assert scrape.value("process_resident_memory_bytes") > 0


def test_names_are_valid_and_say_their_unit() -> None:
    assert len({series.name for series in SERIES}) == len(SERIES)
    for series in SERIES:
        assert re.fullmatch(r"amanuensis(_[a-z]+)+", series.name)
        assert (series.kind == "counter") == series.name.endswith("_total")
        assert series.kind != "histogram" or series.name.endswith(("_seconds", "_windows"))


@pytest.mark.parametrize("cls", all_errors())
def test_every_error_has_one_outcome(cls: type[AmanuensisError]) -> None:
    assert OUTCOMES[cls.code] == outcome_of(cls), "two errors of one code must not differ"
    expected = "rejected" if cls.status < 500 else "refused" if cls.type == "overloaded_error" else "failed"
    assert outcome_of(cls) == ("refused" if cls in {DrainingError, QueueTimeoutError} else expected)


def test_the_values_follow_a_request(client: TestClient) -> None:
    assert post(client, priority="high").status_code == 200
    scrape = Scrape(client)
    assert scrape.value("amanuensis_requests_total", outcome="answered", code="ok") == 1
    assert scrape.value(f"{LATENCY}_count", priority="high", outcome="answered") == 1
    assert 0 < scrape.value(f"{LATENCY}_sum", priority="high", outcome="answered") < 10
    assert scrape.value(f"{LATENCY}_bucket", priority="high", outcome="answered", le="+Inf") == 1
    assert scrape.value("amanuensis_audio_seconds_total") == 3
    assert scrape.value("amanuensis_windows_total") == 3
    assert scrape.value("amanuensis_queue_wait_seconds_bucket", le="0.001") == 1
    assert scrape.value("amanuensis_slots_granted_total") == 3
    assert scrape.value("amanuensis_slots_in_use") == 0
    assert scrape.value("amanuensis_encoder_device_info", device="cpu:test") == 1
    assert scrape.value("amanuensis_encoder_health", status="healthy") == 1
    assert scrape.value("amanuensis_ready") == 1
    for stage in STAGES:
        assert scrape.value("amanuensis_stage_call_seconds_count", stage=stage) == 3
        assert scrape.value("amanuensis_stage_run_seconds_bucket", stage=stage, le="0.001") == 3
        assert scrape.value("amanuensis_stage_queue_seconds_bucket", stage=stage, le="0.001") == 3
        assert scrape.value("amanuensis_stage_batch_windows_bucket", stage=stage, le="1.0") == 3
        assert scrape.value("amanuensis_stage_batches_total", stage=stage) == 3
        assert scrape.value("amanuensis_breaker_state", stage=stage) == 0


def test_it_shows_every_number_of_the_json_documents(client: TestClient) -> None:
    post(client)
    pipeline: dict[str, Any] = client.get("/stats/pipeline").json()
    stages: dict[str, dict[str, Any]] = client.get("/stats/stages").json()
    scrape = Scrape(client)
    queue, buffers = pipeline["queue"], pipeline["buffers"]
    assert set(queue) == {*QUEUE, "total_dropped", "avg_wait_time", "p99_wait_time"}
    assert {key: scrape.value(name) for key, name in QUEUE.items()} == {key: queue[key] for key in QUEUE}
    assert set(buffers) == set(BUFFERS)
    assert {key: scrape.value(name) for key, name in BUFFERS.items()} == buffers
    for stage, document in stages.items():
        others = {"p50_time", "p99_time", "busy_fraction", "batch_size_avg", "breaker"}
        assert set(document) == {*STAGE, *MEANS, *others}
        for key, name in STAGE.items():
            assert scrape.value(name, stage=stage) == document[key], key
        for key, name in MEANS.items():
            mean = scrape.value(f"{name}_sum", stage=stage) / scrape.value(f"{name}_count", stage=stage)
            assert mean == pytest.approx(document[key]), key
        calls, batches = (
            scrape.value(f"amanuensis_stage_{name}", stage=stage) for name in ("call_seconds_count", "batches_total")
        )
        assert calls / batches == document["batch_size_avg"]
        assert 0 < scrape.value("amanuensis_stage_busy_ratio", stage=stage) <= document["busy_fraction"]
    assert scrape.value("amanuensis_pipelined") == pipeline["pipeline"]["running"]
    assert scrape.value("amanuensis_pending_responses") == pipeline["pipeline"]["pending_responses"] == 0


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (InvalidAudioError("bad"), "rejected", "invalid_audio"),
        (ServiceUnavailableError("gone"), "failed", "service_unavailable"),
    ],
)
@pytest.mark.parametrize("stream", ["true", "false"])
def test_errors_are_counted_by_outcome_and_code(
    tmp_path: Path, error: Exception, outcome: str, code: str, stream: str
) -> None:
    async def fails(_: int) -> None:
        raise error

    with TestClient(create_app(service(ScriptedStages(1, fails), tmp_path))) as client:
        post(client, stream=stream)
        scrape = Scrape(client)
    assert scrape.value("amanuensis_requests_total", outcome=outcome, code=code) == 1
    assert scrape.value(f"{LATENCY}_count", priority="normal", outcome=outcome) == 1
    assert scrape.value("amanuensis_requests_total", outcome="answered", code="ok") == 0
    assert scrape.value("amanuensis_stage_errors_total", stage="stage3_decoder_align") == 1


def test_a_full_queue_is_counted_as_refused(tmp_path: Path) -> None:
    async def scenario() -> Scrape:
        asked = service(ScriptedStages(1), tmp_path, slots=1, max_windows_in_flight=1, max_queue_size=0)
        with asked.admission.enter():
            client = TestClient(create_app(asked))
            await asyncio.to_thread(post, client)
            return await asyncio.to_thread(Scrape, client)

    scrape = asyncio.run(scenario())
    assert scrape.value("amanuensis_requests_total", outcome="refused", code="queue_full") == 1
    assert scrape.value("amanuensis_queue_dropped_total", reason="queue_full") == 1
    assert scrape.value("amanuensis_queue_dropped_total", reason="displaced") == 0
    assert scrape.value("amanuensis_queue_size") == 1


def test_a_stage_that_fails_again_and_again_shows_its_breaker(tmp_path: Path) -> None:
    async def fails(_: int) -> None:
        raise ServiceUnavailableError("gone")

    with TestClient(create_app(service(ScriptedStages(1, fails), tmp_path))) as client:
        wait_for_encoder(client)
        for _ in range(6):
            post(client)
        scrape = Scrape(client)
    assert scrape.value("amanuensis_breaker_state", stage="stage3_decoder_align") == 1
    assert scrape.value("amanuensis_breaker_openings_total", stage="stage3_decoder_align") == 1
    assert scrape.value("amanuensis_breaker_state", stage="stage2_encoder") == 0
    assert scrape.value("amanuensis_requests_total", outcome="failed", code="circuit_open") == 1
    assert scrape.value("amanuensis_ready") == 0


def test_a_silent_encoder_is_shown(tmp_path: Path) -> None:
    with TestClient(create_app(service(BrokenStages(), tmp_path))) as client:
        scrape = Scrape(client)
    assert scrape.value("amanuensis_encoder_health", status="silent") == 1
    assert scrape.value("amanuensis_encoder_health", status="healthy") == 0
    assert scrape.value("amanuensis_ready") == 0
    assert "amanuensis_encoder_device_info" not in {name for name, _ in scrape.values}


def shown_replicas(client: TestClient) -> list[dict[str, float]]:
    scrape = Scrape(client)
    return [
        {stage: scrape.value("amanuensis_stage_replicas", stage=stage) for stage in STAGES},
        {stage: figures["workers_active"] for stage, figures in client.get("/stats/stages").json().items()},
        {stage: figures["workers"] for stage, figures in client.get("/health/pipeline").json()["stages"].items()},
    ]


def test_the_replicas_that_are_shown_are_those_that_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.ingress.replica_watch.PERIOD_S", 0.01)
    stages = ScriptedStages(1, replica_counts={"mel": 2, "encoder": 3, "decoder": 4})
    asked = service(stages, tmp_path, mel_replicas=1, encoder_replicas=1, decoder_replicas=1)
    with TestClient(create_app(asked)) as client:
        wait_until(lambda: asked.replicas == (2, 3, 4))
        assert shown_replicas(client) == [dict(zip(STAGES, (2, 3, 4), strict=True))] * 3
        stages.replica_counts["decoder"] = 5
        wait_until(lambda: asked.replicas == (2, 3, 5))
        assert shown_replicas(client) == [dict(zip(STAGES, (2, 3, 5), strict=True))] * 3


def test_statistics_say_since_when_they_count(tmp_path: Path) -> None:
    before = time.time()
    with TestClient(create_app(service(ScriptedStages(1), tmp_path))) as client:
        stats = client.get("/stats").json()
        started = datetime.fromisoformat(stats["started_at"])
        assert before <= started.timestamp() <= time.time()
        assert stats["pipeline"]["pipeline"]["started_at"] == stats["started_at"]
        assert Scrape(client).value("amanuensis_start_time_seconds") == pytest.approx(started.timestamp(), abs=0.001)


def test_no_replica_is_shown_before_one_has_answered(tmp_path: Path) -> None:
    assert service(ScriptedStages(1), tmp_path).replicas == (0, 0, 0)


def test_counters_never_fall_and_no_client_makes_a_series(client: TestClient) -> None:
    before = Scrape(client)
    for index in range(5):
        headers = {"x-request-id": f"mine-{index}", "x-priority": ("high", "normal", "low", "odd", "")[index]}
        client.post("/v1/audio/transcriptions", files=FILE, data={"model": "whisper-1"}, headers=headers)
        client.post("/v1/audio/transcriptions", files=FILE, data={"model": f"none-{index}"}, headers=headers)
        client.get(f"/nothing-{index}")
        after = Scrape(client)
        assert after.values.keys() == before.values.keys()
        fallen = {key: value for key, value in after.growing().items() if value < before.growing()[key]}
        assert not fallen
        before = after
    assert before.value("amanuensis_requests_total", outcome="rejected", code="not_found") == 5


def test_services_do_not_share_their_series(client: TestClient, tmp_path: Path) -> None:
    post(client)
    (tmp_path / "other").mkdir()
    with TestClient(create_app(service(ScriptedStages(1), tmp_path / "other"))) as other:
        assert Scrape(other).value("amanuensis_windows_total") == 0
    assert Scrape(client).value("amanuensis_windows_total") == 3
