"""The HTTP application over scripted stages: what only happens when something else goes wrong."""

import asyncio
import errno
import json
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from deployments.ingress.http.routes import create_app
from deployments.ingress.request import Priority
from deployments.ingress.scheduling.breaker import FAILURES, FIRST_PAUSE_S, CircuitBreaker
from deployments.shared.contracts import EncoderHealth
from deployments.shared.errors import ServiceUnavailableError, StageTimeoutError
from tests.support.asgi import AUDIO
from tests.support.http_service import FILE, BrokenStages, events_of, post, service, wait_for_work, wait_until
from tests.support.scripted_stages import ScriptedStages
from tests.support.tiny_whisper import make_multilingual_model


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(service(ScriptedStages(3), tmp_path))) as running:
        yield running


def test_long_audio_is_given_more_time_unless_its_client_named_it(tmp_path: Path) -> None:
    async def slowly(_: int) -> None:
        await asyncio.sleep(0.4)

    stages = ScriptedStages(3, slowly)
    asked = service(stages, tmp_path, request_timeout_s=0.15, timeout_per_audio_s=10)
    with TestClient(create_app(asked)) as client:
        assert post(client).json()["text"] == "0 1 2"
        named = client.post("/v1/audio/transcriptions", files=FILE, headers={"x-timeout-seconds": "0.15"})
        assert named.status_code == 504
        too_long = client.post("/v1/audio/transcriptions", files=FILE, headers={"x-timeout-seconds": "8000"})
        assert (too_long.status_code, too_long.json()["error"]["param"]) == (400, "x-timeout-seconds")


class MeasuredStages(ScriptedStages):
    """Its encoder was found to need 10 s per window."""

    async def encoder_health(self) -> EncoderHealth:
        return EncoderHealth("cpu:test", "healthy", window_s=10.0)


def test_what_the_measured_pace_cannot_do_in_time_is_rejected_once_its_windows_are_known(tmp_path: Path) -> None:
    asked = service(MeasuredStages(9), tmp_path, timeout_per_audio_s=12)
    with TestClient(create_app(asked)) as client:
        wait_until(lambda: asked.encoder.health is not None)
        for stream in ("false", "true"):
            answer = client.post(
                "/v1/audio/transcriptions", files=FILE, data={"stream": stream}, headers={"x-timeout-seconds": "80"}
            )
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["param"]) == (
                400,
                "timeout_too_short",
                "x-timeout-seconds",
            )
        assert post(client).status_code == 400, "9 s of audio are given 108 s, and with its margin it needs more"
        longer = client.post("/v1/audio/transcriptions", files=FILE, headers={"x-timeout-seconds": "120"})
        assert longer.json()["text"] == "0 1 2 3 4 5 6 7 8"
    assert asked.admission.in_use == 0


def test_a_client_is_told_not_to_repeat_what_took_too_long(tmp_path: Path) -> None:
    async def hangs(_: int) -> None:
        await asyncio.sleep(0.2)

    with TestClient(create_app(service(ScriptedStages(1, hangs), tmp_path))) as client:
        late = client.post("/v1/audio/transcriptions", files=FILE, headers={"x-timeout-seconds": "0.01"})
        assert (late.status_code, late.headers["x-should-retry"]) == (504, "false")
        assert "x-should-retry" not in client.get("/nowhere").headers


def test_windows_become_one_text(client: TestClient) -> None:
    answer = post(client)
    assert answer.status_code == 200
    assert answer.json()["text"] == "0 1 2"
    assert answer.headers["x-encoder-device"] == "cpu:test"


def test_a_stopped_service_leaves_nothing_in_shared_memory(tmp_path: Path) -> None:
    with TestClient(create_app(service(ScriptedStages(3), tmp_path))) as client:
        assert post(client).status_code == 200
        (directory,) = tmp_path.iterdir()
        assert {path.name for path in directory.iterdir()} == {"lock", "slab"}, "no upload is left behind"
    assert list(tmp_path.iterdir()) == []


def test_deltas_say_how_far_they_reach_and_a_verbose_stream_ends_with_the_whole_document(client: TestClient) -> None:
    asked = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    *deltas, done = events_of(post(client, stream="true", **asked).text)
    assert [(delta["type"], delta["delta"]) for delta in deltas] == [
        ("transcript.text.delta", "0"),
        ("transcript.text.delta", " 1"),
        ("transcript.text.delta", " 2"),
    ]
    assert [(delta["start"], delta["end"], delta["duration"]) for delta in deltas] == [(0, 1, 3), (1, 2, 3), (2, 3, 3)]
    assert done.pop("type") == "transcript.text.done"
    assert done == post(client, **asked).json()


def test_a_plain_stream_ends_with_what_openai_sends_and_no_more(client: TestClient) -> None:
    done = events_of(post(client, stream="true").text)[-1]
    assert done == {
        "type": "transcript.text.done", "text": "0 1 2", "usage": {"type": "duration", "seconds": 3},
    }  # fmt: skip


def test_the_log_probabilities_of_a_stream_are_in_its_deltas_and_at_its_end(client: TestClient) -> None:
    *deltas, done = events_of(client.post(AUDIO, files=FILE, data={"stream": "true", "include[]": "logprobs"}).text)
    expected = [{"token": f" {i}", "bytes": [32, 48 + i], "logprob": -0.5} for i in range(3)]
    assert [delta["logprobs"] for delta in deltas] == [[token] for token in expected]
    assert done["logprobs"] == expected


def test_an_error_in_the_middle_of_a_stream_is_told_in_the_stream(tmp_path: Path) -> None:
    async def second_fails(index: int) -> None:
        if index == 1:
            raise ServiceUnavailableError("the decoder is gone")

    with TestClient(create_app(service(ScriptedStages(3, second_fails), tmp_path))) as client:
        answer = post(client, stream="true")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.strip().split("\n\n")]
    assert answer.status_code == 200
    assert [event["type"] for event in events] == ["transcript.text.delta", "error"]
    assert events[1]["error"]["code"] == "service_unavailable"


def test_what_nobody_foresaw_is_hidden_and_has_the_shape_of_every_error(tmp_path: Path) -> None:
    async def breaks(_: int) -> None:
        raise RuntimeError("secret /etc/passwd")

    app = create_app(service(ScriptedStages(1, breaks), tmp_path))
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = post(client)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text
    assert answer.headers["x-encoder-device"]


class UnforeseenStages(ScriptedStages):
    """The first probe raises what nobody thought of."""

    probes = 0

    async def encoder_health(self) -> EncoderHealth:
        self.probes += 1
        if self.probes == 1:
            raise ZeroDivisionError("unforeseen")
        return await super().encoder_health()


def test_a_probe_that_fails_in_an_unforeseen_way_is_followed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.ingress.encoder_watch.PROBE_PERIOD_S", 0.01)
    stages = UnforeseenStages()
    with TestClient(create_app(service(stages, tmp_path))) as client:
        until = time.monotonic() + 10
        while client.get("/health/ready").status_code != 200:
            assert time.monotonic() < until
    assert stages.probes > 1


def test_a_stage_that_hangs_makes_the_service_unready_until_it_gets_on(tmp_path: Path) -> None:
    asked = service(ScriptedStages(), tmp_path)
    with TestClient(create_app(asked)) as client:
        decoder = asked.graph.decoder
        decoder._hung_at = time.monotonic()
        answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["reason"] == "stage3_decoder_align hangs: it has work and finishes nothing"
        decoder._hung_at = None
        assert client.get("/health/ready").status_code == 200


def test_a_stage_that_no_slot_is_left_to_try_makes_the_service_unready(tmp_path: Path) -> None:
    clock = [0.0]
    asked = service(ScriptedStages(), tmp_path, slots=1, max_windows_in_flight=1)
    breaker = CircuitBreaker("encoder", lambda: clock[0])
    asked.graph.encoder.breaker = breaker
    for _ in range(FAILURES):
        breaker.failed(StageTimeoutError("It hangs."))
    clock[0] = FIRST_PAUSE_S

    async def scenario() -> None:
        asked.encoder.health = EncoderHealth("cpu:test", "healthy")
        assert breaker.state == "half_open"
        reasons = [asked.unavailable_stage]
        lease = await asked.admission.next_slot(Priority.NORMAL, time.monotonic() + 60)
        reasons.append(asked.unavailable_stage)
        lease.close()
        reasons.append(asked.unavailable_stage)
        assert reasons == [None, "It hangs.", None], "the next request is the trial, if there is a slot for it"

    asyncio.run(scenario())


def test_until_the_encoder_answers_health_is_red_and_live_is_green(tmp_path: Path) -> None:
    with TestClient(create_app(service(BrokenStages(), tmp_path))) as client:
        assert client.get("/health").status_code == 503
        assert client.get("/health").json()["status"] == "unhealthy"
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/pipeline").json()["stages"]["stage2_encoder"]["status"] == "unhealthy"
        assert client.get("/health/live").status_code == 200
        assert client.get("/health").headers["x-encoder-device"] == "unavailable"


@pytest.mark.parametrize(("size", "connection"), [(1000, None), (2 * 2**20, "close")])
def test_a_full_queue_is_refused_before_the_body_is_read(tmp_path: Path, size: int, connection: str | None) -> None:
    async def scenario() -> None:
        asked = service(ScriptedStages(1), tmp_path, slots=1, max_windows_in_flight=1, max_queue_size=0)
        with asked.admission.enter():
            client = TestClient(create_app(asked))
            file = {"file": ("a.wav", bytes(size))}
            answer = await asyncio.to_thread(client.post, "/v1/audio/transcriptions", files=file)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "queue_full"
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers.get("connection") == connection

    asyncio.run(scenario())


def test_a_request_of_higher_priority_takes_the_place_of_one_that_waits(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def waits(_: int) -> None:
        await release.wait()

    asked = service(ScriptedStages(1, waits), tmp_path, slots=1, max_windows_in_flight=1, max_queue_size=1)
    with TestClient(create_app(asked)) as client, ThreadPoolExecutor() as threads:
        answers = []
        for priority in ("low", "low", "high"):
            headers = {"x-priority": priority}
            answers.append(threads.submit(client.post, "/v1/audio/transcriptions", files=FILE, headers=headers))
            time.sleep(0.1)
        displaced = answers[1].result()
        asked.admission.close()
        draining = post(client)
        assert client.portal is not None
        client.portal.call(release.set)
        assert answers[0].result().status_code == answers[2].result().status_code == 200
    for refused, code in ((displaced, "overloaded"), (draining, "draining")):
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == code
        assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize("stream", ["true", "false"])
def test_a_draining_service_finishes_what_it_accepted_and_nothing_else(tmp_path: Path, stream: str) -> None:
    release = asyncio.Event()

    async def second_waits(index: int) -> None:
        if index == 1:
            await release.wait()

    asked = service(ScriptedStages(3, second_waits), tmp_path)
    with TestClient(create_app(asked)) as client, ThreadPoolExecutor() as threads:
        assert client.portal is not None
        accepted = threads.submit(post, client, stream=stream)
        wait_for_work(asked)
        drained = client.portal.start_task_soon(asked.drain)
        client.portal.call(asyncio.sleep, 0.1)
        assert post(client).json()["error"]["code"] == "draining"
        assert client.get("/health/ready").json() == {"status": "draining"}
        assert client.get("/health/live").status_code == 200
        assert not drained.done()
        client.portal.call(release.set)
        assert "0 1 2" in accepted.result().text
        assert drained.result(5) is True


def test_what_takes_too_long_does_not_keep_a_draining_service(tmp_path: Path) -> None:
    async def waits(_: int) -> None:
        await asyncio.sleep(0.5)

    asked = service(ScriptedStages(1, waits), tmp_path, drain_timeout_s=0.1)
    with TestClient(create_app(asked)) as client, ThreadPoolExecutor() as threads:
        assert client.portal is not None
        accepted = threads.submit(post, client)
        wait_for_work(asked)
        assert client.portal.call(asked.drain) is False
        assert accepted.result().status_code == 200


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_temporary_directory_that_is_full_refuses_a_large_upload(
    reason: int, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", is_full)
    large = client.post("/v1/audio/transcriptions", files={"file": ("a.wav", bytes(2 * 2**20))})
    assert (large.status_code, large.json()["error"]["code"]) == (503, "out_of_space")
    assert large.headers["retry-after"] == "1"
    assert post(client).status_code == 200, "a small one needs no file"


def test_the_temporary_directory_is_found_before_it_can_be_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    with TestClient(create_app(service(ScriptedStages(), tmp_path))):
        assert tempfile.tempdir is not None


def test_malformed_forms_write_no_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"strangers write this", b"--x\r\nno header\r\n\r\n", b"--x\r\n: \r\n\r\n--x--"):
        assert client.post("/v1/audio/transcriptions", content=body, headers=headers).status_code == 400
    assert [record.getMessage() for record in caplog.records if record.name != "ray.serve"] == []


def test_live_settings_hold_at_once(tmp_path: Path) -> None:
    async def waits(_: int) -> None:
        await asyncio.sleep(3 if slow else 0)

    slow = True
    asked = service(ScriptedStages(1, waits), tmp_path)
    with TestClient(create_app(asked)) as client:
        asked.change({"decoder_budget_s": 0.05})
        answer = client.post("/v1/audio/transcriptions", files=FILE, headers={"x-timeout-seconds": "1"})
        assert answer.json()["error"]["code"] == "stage_timeout", "it hangs: its budget is less than what it takes"
        slow = False
        asked.change({"max_upload_bytes": 10})
        assert post(client).status_code == 413
        asked.change({})
        assert post(client).status_code == 200


@pytest.fixture
def multilingual(tmp_path: Path) -> Iterator[tuple[TestClient, ScriptedStages]]:
    model = tmp_path / "model"
    make_multilingual_model(model)
    stages = ScriptedStages(2)
    (tmp_path / "shm").mkdir()
    with TestClient(create_app(service(stages, tmp_path / "shm", model))) as client:
        yield client, stages


def test_a_multilingual_model_translates_and_detects(multilingual: tuple[TestClient, ScriptedStages]) -> None:
    client, stages = multilingual
    answer = client.post("/v1/audio/translations", files=FILE, data={"response_format": "verbose_json"})
    assert answer.status_code == 200
    assert answer.json()["task"] == "translate"
    assert stages.languages == ["de", "de"]
    assert answer.json()["language"] == "english", "of the text, not of the speech"


def test_the_language_is_the_one_that_most_speech_was_in(multilingual: tuple[TestClient, ScriptedStages]) -> None:
    client, stages = multilingual
    stages.windows = 3
    stages.likeliest = {0: ("fr", 0.9), 1: ("de", 0.9), 2: ("de", 0.9)}
    assert post(client, response_format="verbose_json").json()["language"] == "german"
    assert stages.languages == ["fr", "de", "de"]


@pytest.mark.parametrize(("asked", "answered"), [({}, "english"), ({"language": "de"}, "german")])
def test_silence_is_in_the_language_asked_for_else_english(
    asked: dict[str, str], answered: str, multilingual: tuple[TestClient, ScriptedStages]
) -> None:
    client, stages = multilingual
    stages.windows = 0
    answer = post(client, response_format="verbose_json", **asked)
    assert (answer.json()["language"], answer.json()["text"]) == (answered, "")


def test_deltas_joined_are_the_text_in_every_script(multilingual: tuple[TestClient, ScriptedStages]) -> None:
    client, stages = multilingual
    stages.windows, stages.texts = 5, ["天気です。", "散歩", "Good", "", "day 今日は"]
    events = events_of(post(client, stream="true").text)
    assert events[-1]["text"] == "天気です。散歩 Good day 今日は"
    assert "".join(event["delta"] for event in events[:-1]) == events[-1]["text"]


def test_hotwords_and_keywords_reach_the_decoder(multilingual: tuple[TestClient, ScriptedStages]) -> None:
    client, stages = multilingual
    data = {"keywords[]": ["Ecobee", " Amanuensis "], "hotwords": "Kubernetes, Ray"}
    assert client.post("/v1/audio/transcriptions", files=FILE, data=data).status_code == 200
    assert stages.options[0].hotwords == "Ecobee, Amanuensis, Kubernetes, Ray"
    assert post(client).status_code == 200
    assert stages.options[0].hotwords is None


def test_a_language_may_be_named_in_any_way(multilingual: tuple[TestClient, ScriptedStages]) -> None:
    client, stages = multilingual
    for name in ("fr", "French", "FR"):
        assert post(client, language=name).status_code == 200
    assert set(stages.languages) == {"fr"}
