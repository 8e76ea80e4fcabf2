"""Traces, as a collector receives them: OTLP over HTTP."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.testclient import TestClient

from deployments.ingress.http.routes import create_app
from deployments.shared.errors import InvalidAudioError, QueueFullError, ServiceUnavailableError
from tests.support.http_service import post, service
from tests.support.scripted_stages import TIMING, LosingStages, ScriptedStages
from tests.support.trace_collector import Collector, attributes, collecting

STAGES = ("stage1_load_mel", "stage2_encoder", "stage3_decoder_align")
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def ask(collector: Collector, directory: Path, stages: ScriptedStages, **headers: str) -> int:
    """The status of one request to a service that has stopped since, so that all was sent."""
    asked = service(stages, directory, otlp_endpoint=collector.url)
    with TestClient(create_app(asked), headers=headers) as client:
        return int(post(client).status_code)


def test_a_trace_shows_every_wait_of_every_window(collector: Collector, tmp_path: Path) -> None:
    assert ask(collector, tmp_path, ScriptedStages(3)) == 200
    root = collector.root
    assert collector.services == {"amanuensis"}
    assert len(collector.spans) == 1 + 4 * 3
    for name in ("queue", *STAGES):
        spans = collector.steps(name)
        assert [attributes(span.attributes)["amanuensis.window"] for span in spans] == [0, 1, 2]
        for span in spans:
            assert (span.trace_id, span.parent_span_id) == (root.trace_id, root.span_id)
            assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= root.end_time_unix_nano + 1_000_000, "clocks: wall and monotonic"
    assert root.kind == Span.SPAN_KIND_SERVER
    assert root.parent_span_id == b""
    about = attributes(root.attributes)
    assert about["amanuensis.code"] == "ok"
    assert (about["amanuensis.windows"], about["amanuensis.audio_seconds"]) == (3, 3.0)
    assert root.status.code == Status.STATUS_CODE_UNSET


def test_a_stage_s_span_tells_what_the_stage_told(collector: Collector, tmp_path: Path) -> None:
    ask(collector, tmp_path, ScriptedStages(1))
    (span,) = collector.steps("stage2_encoder")
    assert attributes(span.attributes) == {
        "amanuensis.window": 0,
        "amanuensis.attempts": 1,
        "amanuensis.replica": TIMING.replica,
        "amanuensis.device": TIMING.device,
        "amanuensis.batch_windows": TIMING.batch_size,
        "amanuensis.replica_queue_seconds": TIMING.queue_s,
        "amanuensis.run_seconds": TIMING.run_s,
    }


def test_a_trace_goes_on_where_the_client_s_own_began(collector: Collector, tmp_path: Path) -> None:
    ask(collector, tmp_path, ScriptedStages(1), traceparent=f"00-{TRACE}-{CALLER}-01")
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert collector.root.parent_span_id.hex() == CALLER


def test_a_client_that_is_not_sampled_leaves_no_trace(collector: Collector, tmp_path: Path) -> None:
    assert ask(collector, tmp_path, ScriptedStages(1), traceparent=f"00-{TRACE}-{CALLER}-00") == 200
    assert collector.spans == []


def test_nonsense_as_traceparent_begins_a_new_trace(collector: Collector, tmp_path: Path) -> None:
    assert ask(collector, tmp_path, ScriptedStages(1), traceparent="nonsense") == 200
    assert collector.root.parent_span_id == b""


def test_a_retry_is_seen(collector: Collector, tmp_path: Path) -> None:
    assert ask(collector, tmp_path, LosingStages(1)) == 200
    (span,) = collector.steps("stage2_encoder")
    assert attributes(span.attributes)["amanuensis.attempts"] == 2
    assert attributes(collector.root.attributes)["amanuensis.retries"] == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ServiceUnavailableError("gone"), Status.STATUS_CODE_ERROR),
        (InvalidAudioError("bad"), Status.STATUS_CODE_UNSET),
    ],
)
def test_a_failure_is_seen_where_it_happened(
    collector: Collector, tmp_path: Path, error: ServiceUnavailableError | InvalidAudioError, status: int
) -> None:
    async def fails(_: int) -> None:
        raise error

    ask(collector, tmp_path, ScriptedStages(1, fails))
    assert attributes(collector.root.attributes)["amanuensis.code"] == error.code
    assert collector.root.status.code == status
    assert collector.steps(STAGES[2])[0].status.code == Status.STATUS_CODE_ERROR
    assert collector.steps(STAGES[1])[0].status.code == Status.STATUS_CODE_UNSET


def test_a_request_that_got_no_slot_leaves_no_trace(collector: Collector, tmp_path: Path) -> None:
    asked = service(ScriptedStages(1), tmp_path, otlp_endpoint=collector.url)
    with TestClient(create_app(asked)) as client:
        asked.admission.close()
        assert post(client).status_code == QueueFullError.status
    assert collector.spans == []


def test_nothing_that_was_said_is_in_a_trace(collector: Collector, tmp_path: Path) -> None:
    asked = service(ScriptedStages(2), tmp_path, otlp_endpoint=collector.url)
    with TestClient(create_app(asked)) as client:
        post(client, prompt="a secret prompt")
    assert "secret" not in str(collector.spans)


def test_a_collector_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    asked = service(ScriptedStages(1), tmp_path, otlp_endpoint="http://127.0.0.1:9")
    with TestClient(create_app(asked)) as client:
        assert post(client).status_code == 200


def test_where_there_are_no_traces_nothing_is_imported() -> None:
    program = "import sys, deployments.ingress.http.routes; print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
