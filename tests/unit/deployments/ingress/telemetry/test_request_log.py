"""The request log: one line a request that was worked on, few for those turned away, nothing that a user said."""

import asyncio
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.commands import keys
from deployments.ingress.http.routes import create_app
from deployments.ingress.telemetry.request_log import RequestLog
from deployments.shared.errors import InvalidAudioError, QueueFullError, ServiceUnavailableError
from tests.support import virtual_time
from tests.support.asgi import FORM, STREAM, bearer, exchange
from tests.support.http_service import FILE, post, service
from tests.support.scripted_stages import LosingStages, ScriptedStages

Line = dict[str, Any]
STAGES = {"stage1_load_mel", "stage2_encoder", "stage3_decoder_align"}


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ray.serve.requests")


def lines(caplog: pytest.LogCaptureFixture) -> list[Line]:
    return [json.loads(record.message) for record in caplog.records if record.name == "ray.serve.requests"]


def only(caplog: pytest.LogCaptureFixture) -> Line:
    (line,) = lines(caplog)
    return line


@pytest.mark.parametrize("stream", ["true", "false"])
def test_an_answered_request_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture, stream: str) -> None:
    async def slowly(_: int) -> None:
        await asyncio.sleep(0.02)

    with TestClient(create_app(service(ScriptedStages(3, slowly), tmp_path))) as client:
        headers = {"x-request-id": "mine"}
        data = {"stream": stream, "priority": "low"}
        client.post("/v1/audio/transcriptions", files=FILE, data=data, headers=headers)
    line = only(caplog)
    stages = line.pop("stage_seconds")
    seconds = line.pop("seconds")
    assert line == {
        "id": "mine",
        "client": "anonymous",
        "priority": "low",
        "status": 200,
        "code": "ok",
        "queue_seconds": 0.0,
        "audio_seconds": 3.0,
        "windows": 3,
        "retries": 0,
        "device": "cpu:test",
    }
    assert set(stages) == STAGES
    assert stages["stage3_decoder_align"] >= 0.06, "the sum over all windows"
    assert seconds >= 0.02


def test_it_names_the_client_and_holds_no_key_no_prompt_and_no_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = keys.add(tmp_path / "keys", "ann", operator=False)
    (tmp_path / "shm").mkdir()
    asked = service(ScriptedStages(1), tmp_path / "shm", api_keys_file=str(tmp_path / "keys"))
    with TestClient(create_app(asked)) as client:
        data = {"prompt": "my secret words"}
        answer = client.post("/v1/audio/transcriptions", files=FILE, data=data, headers=bearer(key))
        assert answer.status_code == 200
    line = only(caplog)
    assert line["client"] == "ann"
    assert "text" not in line
    assert "secret" not in caplog.text
    assert key not in caplog.text


@pytest.mark.parametrize("stream", ["true", "false"])
@pytest.mark.parametrize("error", [InvalidAudioError("bad"), ServiceUnavailableError("gone")])
def test_a_request_that_failed_at_work_is_a_line_with_its_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stream: str, error: ServiceUnavailableError
) -> None:
    async def fails(_: int) -> None:
        raise error

    with TestClient(create_app(service(ScriptedStages(2, fails), tmp_path))) as client:
        post(client, stream=stream)
    line = only(caplog)
    assert (line["status"], line["code"]) == (error.status, error.code)
    assert set(line["stage_seconds"]) == STAGES


def test_retries_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(create_app(service(LosingStages(1), tmp_path))) as client:
        assert post(client).status_code == 200
    line = only(caplog)
    assert line["retries"] == 1
    assert line["stage_seconds"]["stage2_encoder"] >= 0.05, "the pause before the second call counts"


@pytest.mark.parametrize("form", [STREAM + FORM, FORM], ids=["stream", "whole"])
def test_a_client_that_leaves_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, form: bytes) -> None:
    async def scenario() -> None:
        reached = asyncio.Event()

        async def waits(_: int) -> None:
            reached.set()
            await asyncio.sleep(0.2)

        asked = service(ScriptedStages(1, waits), tmp_path)
        asking = asyncio.create_task(exchange(create_app(asked), form))
        await reached.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert asked.statistics.failures == {"client_closed_request": 1}

    asyncio.run(scenario())
    line = only(caplog)
    assert (line["status"], line["code"]) == (499, "client_closed_request")


def test_a_storm_of_refusals_is_a_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        log = RequestLog()
        for index in range(3000):
            log.failed(QueueFullError("full") if index % 3 else InvalidAudioError("bad"), None)
            await asyncio.sleep(0.001)
        await asyncio.sleep(2)

    virtual_time.run(scenario())
    counts: Counter[str] = Counter()
    for line in lines(caplog):
        counts.update(line["turned_away"])
    assert counts == {"queue_full": 2000, "invalid_audio": 1000}
    assert 3 <= len(lines(caplog)) <= 4


def test_what_was_turned_away_last_is_not_lost_at_shutdown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(create_app(service(ScriptedStages(1), tmp_path))) as client:
        assert post(client, model="unknown").status_code == 404
        assert client.get("/nothing").status_code == 404
    assert only(caplog) == {"turned_away": {"model_not_found": 1, "not_found": 1}}
