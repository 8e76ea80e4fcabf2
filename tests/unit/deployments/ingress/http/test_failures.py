"""The failure log over HTTP: what is recorded of which request, and what an operator can do with it."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest
from starlette.testclient import TestClient

from deployments.commands import keys
from deployments.ingress.failures.log import FailureLog
from deployments.ingress.failures.record import Failure
from deployments.ingress.http import responses
from deployments.ingress.http.routes import create_app
from deployments.ingress.service import TranscriptionService
from deployments.shared.errors import (
    AmanuensisError,
    ClientDisconnectedError,
    InternalError,
    InvalidAudioError,
    RequestCancelledError,
    ServiceUnavailableError,
    SlotViolationError,
)
from tests.support.failure_records import AUDIO, failure
from tests.support.http_service import FILE, post, service
from tests.support.scripted_stages import ScriptedStages

Delay = Callable[[int], Awaitable[None]]


def fails(error: Exception) -> Delay:
    async def fail(_: int) -> NoReturn:
        raise error

    return fail


async def hangs(_: int) -> None:
    await asyncio.sleep(2.0)


class Bench:
    """A service whose stages do as told, its client, and its failure log."""

    def __init__(self, service: TranscriptionService, client: TestClient) -> None:
        self.service = service
        self.client = client

    @property
    def log(self) -> FailureLog:
        return self.service.failures.log

    def recorded(self, count: int = 1) -> list[Failure]:
        """The log, once it holds ``count`` records and nothing waits to be written."""
        until = time.monotonic() + 5
        while self.service.failures.recorded < count and time.monotonic() < until:
            time.sleep(0.001)
        return self.log.page(100)[0]


@contextmanager
def running(directory: Path, stages: ScriptedStages, **settings: Any) -> Iterator[Bench]:
    asked = service(stages, directory, failure_log_dir=str(directory / "failures"), **settings)
    with TestClient(create_app(asked), raise_server_exceptions=False) as client:
        yield Bench(asked, client)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with running(tmp_path, ScriptedStages(1, fails(ServiceUnavailableError("the decoder is gone")))) as made:
        yield made


# What is recorded


def test_a_request_that_was_accepted_and_not_answered_is_recorded_whole(bench: Bench) -> None:
    before = datetime.now(UTC)
    answer = bench.client.post(
        "/v1/audio/transcriptions",
        files={"file": ("a talk.MP3", b"0123456789")},
        data={"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"], "language": "en"},
        headers={"x-request-id": "my-id", "x-priority": "high", "x-timeout-seconds": "7"},
    )
    assert answer.status_code == 503
    (record,) = bench.recorded()
    assert (record.request_id, record.client, record.task, record.priority) == (
        "my-id",
        "anonymous",
        "transcribe",
        "high",
    )
    assert (record.status, record.code, record.message) == (503, "service_unavailable", "the decoder is gone")
    assert record.stage == "stage3_decoder_align"
    assert (record.audio_bytes, record.audio_suffix, record.audio_kept) == (10, ".MP3", False)
    assert before <= record.received <= record.time <= datetime.now(UTC)
    assert record.failed_after_s == pytest.approx((record.time - record.received).total_seconds(), abs=1e-3)
    assert record.timeout_s == pytest.approx(7)
    assert record.waited_s == 0
    assert record.parameters["response_format"] == "verbose_json"
    assert record.parameters["timestamp_granularities"] == ["word", "segment"]
    assert record.parameters["language"] == "en"
    assert "stage" not in answer.text, "the stage is for the operator"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InternalError("oops"), "internal_error"),
        (SlotViolationError("late"), "slot_violation"),
        (RuntimeError("nobody foresaw this"), "internal_error"),
    ],
)
def test_every_error_of_the_service_is_recorded(tmp_path: Path, error: Exception, code: str) -> None:
    with running(tmp_path, ScriptedStages(1, fails(error))) as bench:
        assert post(bench.client).status_code == 500
        (record,) = bench.recorded()
    assert (record.status, record.code) == (500, code)
    assert "foresaw this" not in record.model_dump_json()


def test_the_time_recorded_is_that_which_the_length_of_the_audio_gave(tmp_path: Path) -> None:
    stages = ScriptedStages(5, fails(ServiceUnavailableError("the decoder is gone")))
    with running(tmp_path, stages, request_timeout_s=2, timeout_per_audio_s=3) as bench:
        assert post(bench.client).status_code == 503
        (record,) = bench.recorded()
    assert record.timeout_s == 5 * 3, "five windows of one second each"


def test_deadlines_and_budgets_are_recorded(tmp_path: Path) -> None:
    with running(tmp_path, ScriptedStages(1, hangs), decoder_budget_s=0.01) as bench:
        for seconds in ("0.005", "0.1"):
            answer = bench.client.post(
                "/v1/audio/transcriptions", files={"file": ("a", b"x")}, headers={"x-timeout-seconds": seconds}
            )
            assert answer.status_code == 504
        codes = {record.code: record.stage for record in bench.recorded(2)}
    assert codes == {"stage_timeout": "stage3_decoder_align", "deadline_exceeded": "stage3_decoder_align"}


def test_a_request_that_never_got_a_slot_is_recorded_without_a_stage(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        lease = await bench.service.admission.next_slot(0, time.monotonic() + 60)  # type: ignore[arg-type]
        answer = await asyncio.to_thread(
            TestClient(create_app(bench.service)).post,
            "/v1/audio/transcriptions",
            files={"file": ("a", b"x")},
            headers={"x-timeout-seconds": "0.02"},
        )
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        lease.close()

    with running(tmp_path, ScriptedStages(1), slots=1, max_windows_in_flight=1) as bench:
        asyncio.run(scenario(bench))
        (record,) = bench.recorded()
    assert (record.code, record.stage, record.waited_s) == ("queue_timeout", None, None)


def test_an_answer_that_cannot_be_formatted_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "as_json", lambda _: 1 / 0)
    with running(tmp_path, ScriptedStages(1)) as bench:
        assert post(bench.client).status_code == 500
        (record,) = bench.recorded()
    assert (record.code, record.stage) == ("internal_error", None)


def test_an_error_inside_a_stream_is_recorded_once(tmp_path: Path) -> None:
    async def second_fails(index: int) -> None:
        if index == 1:
            raise ServiceUnavailableError("the decoder is gone")

    with running(tmp_path, ScriptedStages(3, second_fails)) as bench:
        answer = post(bench.client, stream="true")
        assert answer.status_code == 200
        (record,) = bench.recorded()
    assert (record.status, record.code, record.stage) == (503, "service_unavailable", "stage3_decoder_align")
    assert record.parameters["stream"] is True


def test_translations_are_told_from_transcriptions(tmp_path: Path) -> None:
    with running(tmp_path, ScriptedStages(1, fails(InternalError("x")))) as bench:
        answer = bench.client.post("/v1/audio/translations", files={"file": ("a.wav", b"x")})
        assert answer.status_code == 400, "the demo model cannot translate"
        assert bench.recorded(0) == []


@pytest.mark.parametrize(
    "error", [InvalidAudioError("noise"), RequestCancelledError("given up"), ClientDisconnectedError("gone")]
)
def test_what_is_the_clients_own_doing_is_not_recorded(tmp_path: Path, error: AmanuensisError) -> None:
    with running(tmp_path, ScriptedStages(1, fails(error))) as bench:
        assert post(bench.client).status_code == error.status
    assert bench.recorded(0) == []


def test_what_was_never_accepted_is_not_recorded(tmp_path: Path) -> None:
    with running(tmp_path, ScriptedStages(1)) as bench:
        assert post(bench.client, temperature="9").status_code == 400
        assert bench.client.post("/v1/audio/transcriptions", content=b"x").status_code == 400
        assert bench.client.get("/nothing").status_code == 404
        assert post(bench.client).status_code == 200
        bench.service.admission.close()
        assert post(bench.client).status_code == 503
    assert bench.recorded(0) == []


def test_the_client_is_named(tmp_path: Path) -> None:
    key_file = tmp_path / "keys"
    headers = {"authorization": f"Bearer {keys.add(key_file, 'newsroom', operator=False)}"}
    stages = ScriptedStages(1, fails(InternalError("x")))
    asked = service(stages, tmp_path, failure_log_dir=str(tmp_path / "failures"), api_keys_file=str(key_file))
    with TestClient(create_app(asked)) as client:
        assert client.post("/v1/audio/transcriptions", files=FILE, headers=headers).status_code == 500
    assert [record.client for record in asked.failures.log.page(10)[0]] == ["newsroom"]


@pytest.mark.parametrize("name", ["a", "a.", "a.b c", "a./x", "a.ü", "a." + "x" * 20, 'a."', "a.\n"])
def test_a_strange_file_name_leaves_no_trace(bench: Bench, name: str) -> None:
    bench.client.post("/v1/audio/transcriptions", files={"file": (name, b"x")})
    (record,) = bench.recorded()
    assert record.audio_suffix == ""


@pytest.mark.parametrize("keep", [False, True])
def test_user_data_is_kept_only_by_an_operator_who_says_so(tmp_path: Path, *, keep: bool) -> None:
    stages = ScriptedStages(1, fails(InternalError("x")))
    with running(tmp_path, stages, failure_log_audio=keep) as bench:
        post(bench.client, prompt="My name is Rumpelstilzchen")
        (record,) = bench.recorded()
    (file,) = bench.log.directory.iterdir()
    content = file.read_bytes()
    assert (b"Rumpelstilzchen" in content) is keep
    assert (b"never decoded here" in content) is keep
    assert record.parameters.get("prompt") == ("My name is Rumpelstilzchen" if keep else None)


# What goes wrong


def test_a_full_disk_changes_no_answer_and_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    with running(tmp_path, ScriptedStages(1, fails(InternalError("x")))) as bench:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdopen", full)
            answers = [post(bench.client) for _ in range(3)]
            until = time.monotonic() + 5
            while bench.service.failures.errors < 3 and time.monotonic() < until:
                time.sleep(0.001)
        assert [answer.status_code for answer in answers] == [500] * 3
        assert bench.client.get("/stats").json()["failure_log"] == {
            "recorded": 0,
            "dropped": 0,
            "errors": 3,
            "backlog": 0,
        }
        assert bench.client.get("/failures").json()["data"] == []


def test_a_stopped_service_has_written_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = FailureLog.add

    def slowly(log: FailureLog, failure: Failure, audio: bytes) -> None:
        time.sleep(0.02)
        add(log, failure, audio)

    monkeypatch.setattr(FailureLog, "add", slowly)
    with running(tmp_path, ScriptedStages(1, fails(InternalError("x")))) as bench:
        for _ in range(20):
            post(bench.client)
    assert len(bench.log.page(100)[0]) == 20


def test_a_log_that_is_off_lists_nothing(tmp_path: Path) -> None:
    with running(tmp_path, ScriptedStages(1, fails(InternalError("x"))), failure_log_max_records=0) as bench:
        assert post(bench.client).status_code == 500
        assert bench.client.get("/failures").json() == {"object": "list", "data": [], "has_more": False}
    assert not (tmp_path / "failures").exists()


# What an operator can do


def test_records_are_listed_in_pages(bench: Bench) -> None:
    for second in range(5):
        bench.log.add(failure(second))
    first = bench.client.get("/failures?limit=3").json()
    assert [item["request_id"] for item in first["data"]] == ["request-4", "request-3", "request-2"]
    assert first["has_more"] is True
    rest = bench.client.get(f"/failures?limit=3&before={first['data'][-1]['id']}").json()
    assert [item["request_id"] for item in rest["data"]] == ["request-1", "request-0"]
    assert rest["has_more"] is False


def test_times_are_iso_in_utc(bench: Bench) -> None:
    bench.log.add(failure())
    (item,) = bench.client.get("/failures").json()["data"]
    assert item["time"] == item["received"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=1001", "limit=", "limit=" + "9" * 5000, "before=x"]
)
def test_a_bad_query_is_refused(bench: Bench, query: str) -> None:
    answer = bench.client.get(f"/failures?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.partition("=")[0]


def test_one_record_its_audio_and_its_end(bench: Bench) -> None:
    record = failure(audio=AUDIO)
    bench.log.add(record, AUDIO)
    assert bench.client.get(f"/failures/{record.id}").json() == json.loads(record.model_dump_json())
    audio = bench.client.get(f"/failures/{record.id}/audio")
    assert audio.content == AUDIO
    assert audio.headers["content-type"] == "application/octet-stream"
    assert audio.headers["content-disposition"] == "attachment"
    assert bench.client.delete(f"/failures/{record.id}").json() == {"id": record.id, "deleted": True}
    assert bench.client.get("/failures").json()["data"] == []


def test_what_is_not_there_is_not_found(bench: Bench) -> None:
    record = failure()
    assert bench.client.get(f"/failures/{record.id}").status_code == 404
    assert bench.client.get(f"/failures/{record.id}/audio").status_code == 404
    assert bench.client.delete(f"/failures/{record.id}").status_code == 404
    assert bench.client.get("/failures/%2e%2e%2fsecret").status_code == 404
    bench.log.add(record)
    missing = bench.client.get(f"/failures/{record.id}/audio")
    assert missing.status_code == 404
    assert "failure_log_audio" in missing.json()["error"]["message"]
    assert bench.client.post(f"/failures/{record.id}").status_code == 405


def test_a_torn_file_does_not_break_the_list(bench: Bench) -> None:
    bench.log.add(failure(1))
    (bench.log.directory / f"{failure(2).id}.failure").write_bytes(b'{"id": "2026')
    assert [item["request_id"] for item in bench.client.get("/failures").json()["data"]] == ["request-1"]
