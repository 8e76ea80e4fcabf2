"""``/v1/realtime`` over scripted stages: who is let in, how others are refused, and that each end is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from deployments.commands import keys
from deployments.ingress.http.routes import ROUTES, create_app
from deployments.ingress.live import transcriber
from deployments.ingress.live.configuration import UtteranceForm
from deployments.ingress.live.transcriber import Transcriber
from deployments.ingress.live.utterance import Draft
from deployments.ingress.service import TranscriptionService
from deployments.ingress.work import decode_options
from deployments.shared.contracts import ArrayRef, BlobRef, DecodedWindow, DecodeOptions, EncodedWindow, Ticket, Window
from deployments.shared.errors import StageLostError
from tests.support.asgi import bearer
from tests.support.http_service import service, wait_until
from tests.support.live import COMMIT, MANUAL, PCM_16, LoudVoice, session_update, silence, speech
from tests.support.pipelines import make_request
from tests.support.scripted_stages import ScriptedStages
from tests.support.tiny_whisper import make_multilingual_model

PATH = "/v1/realtime?intent=transcription"


def live_service(directory: Path, stages: ScriptedStages | None = None, **settings: Any) -> TranscriptionService:
    """A service that takes whatever is not silent for speech."""
    asked = service(stages or ScriptedStages(texts=["Hello world."]), directory, **settings)
    asked.live.voice = LoudVoice()
    return asked


@pytest.fixture
def asked(tmp_path: Path) -> TranscriptionService:
    return live_service(tmp_path)


@pytest.fixture
def client(asked: TranscriptionService) -> Iterator[TestClient]:
    with TestClient(create_app(asked)) as running:
        yield running


def refusal(client: TestClient, path: str = PATH, **options: Any) -> tuple[int, str]:
    """Status and code of a refusal, before anything is a WebSocket."""
    with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect(path, **options):
        raise AssertionError("it was let in")
    return caught.value.status_code, caught.value.json()["error"]["code"]


def headers_of(socket: WebSocketTestSession) -> dict[bytes, bytes]:
    return dict(socket.extra_headers or [])


def protocol_of(socket: WebSocketTestSession) -> Any:
    """What was accepted; the client's own type allows nothing."""
    return socket.accepted_subprotocol


def until(socket: WebSocketTestSession, kind: str) -> list[dict[str, Any]]:
    """The events up to one whose type ends so."""
    events = [socket.receive_json()]
    while not events[-1]["type"].endswith(kind):
        events.append(socket.receive_json())
    return events


def test_what_is_said_is_told(client: TestClient, asked: TranscriptionService) -> None:
    with client.websocket_connect(PATH) as socket:
        socket.send_json(session_update(format=PCM_16))
        socket.send_bytes(silence(1) + speech(2) + silence(1))
        events = until(socket, "completed")
        assert events[0]["session"]["audio"]["input"]["transcription"]["model"] == "demo-en"
        assert events[-1]["transcript"] == "Hello world."
        assert asked.statistics.live.sessions == 1
    wait_until(lambda: not asked.statistics.live.sessions)
    assert asked.statistics.requests.count == 1, "the utterance; its parts are counted elsewhere"


def test_an_utterance_is_a_request_of_high_priority_without_another_voice_detection(tmp_path: Path) -> None:
    stages = ScriptedStages(texts=["x"])
    with TestClient(create_app(live_service(tmp_path, stages))) as client, client.websocket_connect(PATH) as socket:
        socket.send_json(session_update(format=PCM_16, turn_detection=None, transcription={"prompt": "Ecobee"}))
        socket.send_bytes(speech(1))
        socket.send_json(COMMIT)
        until(socket, "completed")
    assert stages.priorities == [0]
    assert not stages.speech.vad_filter
    assert stages.options[0].prompt == "Ecobee"
    assert stages.options[0].language == "en"


@dataclass
class NotedStages(ScriptedStages):
    """Stages that note of each text whether it is a draft and what was spoken before, and are so sure of that."""

    sure: float = 1.0
    drafts: list[bool] = field(default_factory=list)
    before: list[str | None] = field(default_factory=list)

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        self.drafts.append(options.draft)
        self.before.append(options.language_before)
        decoded = await super().decode(ticket, states, window, options, pcm)
        return replace(decoded, transcript=replace(decoded.transcript, language_probability=self.sure))


def test_a_draft_is_enough_until_the_utterance_is_complete(tmp_path: Path) -> None:
    async def both(transcriber: Transcriber) -> None:
        form = UtteranceForm.model_validate({})
        await transcriber.partial("item.1", form, speech(1))
        await transcriber.whole("item", form, speech(1))

    stages = NotedStages(texts=["x"])
    asyncio.run(both(Transcriber(live_service(tmp_path, stages), "somebody", None)))
    assert stages.drafts == [True, False]


@pytest.mark.parametrize(("sure", "enough_s", "before"), [(0.9, 1.0, "en"), (0.3, 1.0, None), (0.9, 1.1, None)])
def test_a_session_goes_on_in_the_language_of_the_utterance_before_if_that_was_sure_and_long_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sure: float, enough_s: float, before: str | None
) -> None:
    monkeypatch.setattr(transcriber, "ENOUGH_S", enough_s)  # the window has 1 s

    async def utterances(asked: Transcriber) -> None:
        form = UtteranceForm.model_validate({})
        early = await asked.early("item_1", form, speech(1))
        await asked.partial("item_2.1", form, speech(1))
        assert early is not None
        early.accept()
        await asked.whole("item_2", form, speech(1))
        await asked.partial("item_3.1", form, speech(1))

    stages = NotedStages(texts=["x"], sure=sure)
    asyncio.run(utterances(Transcriber(live_service(tmp_path, stages), "somebody", None)))
    assert stages.before == [None, None, before, before], "a text that is not accepted decides nothing"


@pytest.mark.parametrize(
    ("hints", "before", "taken"),
    [
        ({}, "ja", "ja"),
        ({"languages": ["ja", "de"]}, "ja", "ja"),
        ({"languages": ["en", "de"]}, "ja", None),
        ({"language": "en"}, "ja", None),
        ({}, None, None),
    ],
)
def test_the_language_before_is_none_that_the_hints_leave_out(
    tmp_path: Path, hints: dict[str, Any], before: str | None, taken: str | None
) -> None:
    make_multilingual_model(tmp_path / "model")
    model = service(ScriptedStages(), tmp_path, tmp_path / "model").model
    request = replace(make_request(), form=UtteranceForm.model_validate(hints), language_before=before)
    assert decode_options(request, model, 1).language_before == taken


def test_the_text_of_a_pause_is_counted_as_a_request_once_it_is_accepted(tmp_path: Path) -> None:
    async def pauses(transcriber: Transcriber) -> None:
        form = UtteranceForm.model_validate({})
        await transcriber.early("item_1", form, speech(1))
        early = await transcriber.early("item_1", form, speech(1))
        assert early is not None
        early.accept()

    asked = live_service(tmp_path, NotedStages(texts=["x"]))
    asyncio.run(pauses(Transcriber(asked, "somebody", None)))
    value = asked.statistics.registry.get_sample_value
    assert value("amanuensis_request_seconds_count", {"priority": "high", "outcome": "answered"}) == 1
    assert value("amanuensis_live_partials_total", {"outcome": "answered"}) == 2


@pytest.mark.parametrize(("sure", "language"), [(0.9, "en"), (0.3, None)])
def test_a_draft_names_its_language_where_that_is_sure(tmp_path: Path, sure: float, language: str | None) -> None:
    stages = NotedStages(texts=["x"], sure=sure)
    transcriber = Transcriber(live_service(tmp_path, stages), "somebody", None)
    draft = asyncio.run(transcriber.partial("item.1", UtteranceForm.model_validate({}), speech(1)))
    assert draft == Draft("x", language)


def test_the_protocol_that_browsers_offer_is_taken_and_the_key_among_them_is_not(client: TestClient) -> None:
    offered = ["realtime", "openai-insecure-api-key.secret", "openai-beta.realtime-v1"]
    with client.websocket_connect(PATH, subprotocols=offered) as socket:
        assert protocol_of(socket) == "realtime"
        assert "client_secret" in socket.receive_json()["session"], "the older form of the protocol"
    with client.websocket_connect(PATH) as socket:
        assert headers_of(socket)[b"x-encoder-device"] == b"cpu:test"
        assert protocol_of(socket) is None


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/realtime?intent=conversation", 400, "unsupported_parameter"),
        ("/v1/realtime?model=gpt-realtime", 404, "model_not_found"),
        ("/v1/realtime/other", 404, "not_found"),
        ("/v1/audio/transcriptions", 404, "not_found"),
        ("/health/live", 404, "not_found"),
    ],
)
def test_what_is_not_served_is_refused_before_the_upgrade(
    client: TestClient, path: str, status: int, code: str
) -> None:
    assert refusal(client, path) == (status, code)


def test_a_model_may_be_named_by_any_of_its_names(client: TestClient) -> None:
    with client.websocket_connect("/v1/realtime?model=whisper-1") as socket:
        assert socket.receive_json()["session"]["audio"]["input"]["transcription"] == {"model": "whisper-1"}


def test_a_request_that_is_no_websocket_is_told_so(client: TestClient) -> None:
    answer = client.get("/v1/realtime")
    assert (answer.status_code, answer.json()["error"]["code"]) == (426, "upgrade_required")


class TestKeys:
    @pytest.fixture
    def key(self, tmp_path: Path) -> str:
        return keys.add(tmp_path / "keys", "ann", operator=False)

    @pytest.fixture
    def closed(self, tmp_path: Path, key: str) -> Iterator[TestClient]:
        del key
        (tmp_path / "shm").mkdir()
        with TestClient(create_app(live_service(tmp_path / "shm", api_keys_file=str(tmp_path / "keys")))) as client:
            yield client

    def test_a_key_is_taken_from_the_header_or_from_the_protocols(self, closed: TestClient, key: str) -> None:
        with closed.websocket_connect(PATH, headers=bearer(key)) as socket:
            socket.receive_json()
        with closed.websocket_connect(PATH, subprotocols=["realtime", f"openai-insecure-api-key.{key}"]) as socket:
            socket.receive_json()

    def test_nobody_is_let_in_without_a_key(self, closed: TestClient, key: str) -> None:
        for options in (
            {},
            {"headers": bearer("wrong")},
            {"subprotocols": ["realtime", "openai-insecure-api-key.wrong"]},
            {"subprotocols": [f"openai-insecure-api-key.{key}"], "headers": bearer("wrong")},
        ):
            assert refusal(closed, **options) == (401, "invalid_api_key")

    def test_a_key_among_protocols_opens_no_other_route(self, closed: TestClient, key: str) -> None:
        protocols = {"sec-websocket-protocol": f"openai-insecure-api-key.{key}"}
        assert closed.get("/v1/models", headers=protocols).status_code == 401

    @pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
    def test_no_route_is_a_way_around_the_key(self, closed: TestClient, route: Any) -> None:
        path = route.path.replace("{", "").replace("}", "")
        assert refusal(closed, path) == (401, "invalid_api_key")


class TestWebPages:
    def test_a_page_of_another_origin_is_refused(self, client: TestClient) -> None:
        assert refusal(client, headers={"origin": "https://evil.example"}) == (403, "origin_not_allowed")
        assert refusal(client, headers={"sec-fetch-site": "cross-site"}) == (403, "origin_not_allowed")
        assert refusal(client, headers={"host": "evil.example"}) == (403, "host_not_allowed")

    def test_a_page_of_the_service_or_one_that_is_allowed_is_let_in(self, tmp_path: Path) -> None:
        allowed = live_service(tmp_path, cors_origins=["https://app.example.org"])
        with TestClient(create_app(allowed)) as client:
            for origin in ("http://testserver", "https://app.example.org"):
                with client.websocket_connect(PATH, headers={"origin": origin}) as socket:
                    socket.receive_json()


class TestLimits:
    def test_a_session_is_a_request_of_its_client_until_it_ends(self, tmp_path: Path) -> None:
        asked = live_service(tmp_path, max_concurrent_requests=1, requests_per_minute=60)
        with TestClient(create_app(asked)) as client:
            with client.websocket_connect(PATH) as socket:
                assert headers_of(socket)[b"x-ratelimit-limit-requests"] == b"60"
                assert refusal(client) == (429, "too_many_concurrent_requests")
            wait_until(lambda: not asked.statistics.live.sessions)
            with client.websocket_connect(PATH) as socket:
                socket.receive_json()

    def test_no_more_sessions_are_open_than_may_be(self, tmp_path: Path) -> None:
        asked = live_service(tmp_path, max_live_sessions=2)
        with TestClient(create_app(asked)) as client:
            with client.websocket_connect(PATH), client.websocket_connect(PATH):
                assert refusal(client) == (503, "live_sessions_full")
            wait_until(lambda: not asked.statistics.live.sessions)
            with client.websocket_connect(PATH) as socket:
                socket.receive_json()

    def test_live_transcription_can_be_off(self, tmp_path: Path) -> None:
        with TestClient(create_app(live_service(tmp_path, max_live_sessions=0))) as client:
            assert refusal(client) == (503, "live_sessions_full")

    def test_a_flood_closes_the_session_with_its_reason(self, tmp_path: Path) -> None:
        asked = live_service(tmp_path, max_live_ahead_s=5)
        with TestClient(create_app(asked)) as client, client.websocket_connect(PATH) as socket:
            socket.send_bytes(silence(60))
            assert until(socket, "error")[-1]["error"]["code"] == "audio_too_fast"
            closed_by(socket, 1008, "audio_too_fast")
        assert asked.statistics.failures == {"audio_too_fast": 1}

    def test_an_idle_session_is_closed(self, tmp_path: Path) -> None:
        asked = live_service(tmp_path, live_idle_timeout_s=0.1)
        with TestClient(create_app(asked)) as client, client.websocket_connect(PATH) as socket:
            until(socket, "error")
            closed_by(socket, 1001, "session_idle")


def closed_by(socket: WebSocketTestSession, code: int, reason: str) -> None:
    with pytest.raises(WebSocketDisconnect) as caught:
        until(socket, "nothing more")
    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_a_service_that_stops_tells_the_last_words_and_lets_nobody_in(
    client: TestClient, asked: TranscriptionService
) -> None:
    with client.websocket_connect(PATH) as socket:
        socket.send_json(session_update(format=PCM_16))
        socket.send_bytes(speech(2))
        until(socket, "speech_started")
        portal = client.portal
        assert portal is not None
        draining = portal.start_task_soon(asked.drain)
        events = until(socket, "completed")
        assert [event["error"]["code"] for event in events if event["type"] == "error"] == ["draining"]
        closed_by(socket, 1012, "draining")
        assert draining.result(10)
    assert refusal(client) == (503, "draining")


class LostStages(ScriptedStages):
    """The encoder is gone while ``lost``."""

    lost = True

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        if self.lost:
            raise StageLostError("gone")
        return await super().encode(ticket, log_mel)


def test_a_stage_that_dies_fails_the_item_and_the_session_lives_on(tmp_path: Path) -> None:
    stages = LostStages(texts=["back"])
    asked = live_service(tmp_path, stages)
    with TestClient(create_app(asked)) as client, client.websocket_connect(PATH) as socket:
        socket.send_json(MANUAL)
        socket.send_bytes(speech(1))
        socket.send_json(COMMIT)
        failed = until(socket, "failed")[-1]
        assert (failed["error"]["code"], failed["error"]["type"]) == ("stage_lost", "server_error")
        stages.lost = False
        socket.send_bytes(speech(1))
        socket.send_json(COMMIT)
        assert until(socket, "completed")[-1]["transcript"] == "back"
        wait_until(lambda: asked.failures.recorded == 1)
    assert asked.statistics.failures == {"stage_lost": 1}


def test_a_client_that_breaks_off_leaves_no_slot_no_place_and_no_file(tmp_path: Path) -> None:
    begun, ends = threading.Event(), threading.Event()

    async def long(_: int) -> None:
        begun.set()
        await asyncio.to_thread(ends.wait, 20)

    asked = live_service(tmp_path, ScriptedStages(1, long))
    with TestClient(create_app(asked)) as client:
        with client.websocket_connect(PATH) as socket:
            socket.send_json(MANUAL)
            socket.send_bytes(speech(1))
            socket.send_json(COMMIT)
            assert begun.wait(5)
            assert asked.admission.in_use == 1
        wait_until(lambda: not asked.statistics.live.sessions and not asked.statistics.pending_responses)
        ends.set()  # a slot is free when the call that was given it has ended
        wait_until(lambda: is_idle(asked, tmp_path))


def is_idle(asked: TranscriptionService, directory: Path) -> bool:
    """Whether nothing is left of any session."""
    uploads = [path for path in directory.rglob("*") if path.is_file() and path.name not in {"slab", "lock"}]
    counts: list[Callable[[], int]] = [
        lambda: asked.admission.in_use,
        lambda: asked.admission.waiting,
        lambda: asked.statistics.pending_responses,
        lambda: asked.statistics.live.sessions,
    ]
    return not uploads and not any(count() for count in counts)
