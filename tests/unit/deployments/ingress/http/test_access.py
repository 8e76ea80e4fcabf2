"""Who may call what over HTTP, what is refused first, and that a client's place always comes back."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.app import build
from deployments.commands import keys
from deployments.ingress.clients.key_file import KeyFile
from deployments.ingress.http.access import Authentication
from deployments.ingress.http.body import BoundedBody, UploadPace
from deployments.ingress.http.routes import CLIENT, OPERATOR, PUBLIC, ROUTES, create_app
from deployments.ingress.http.state import RequestState, set_state, state_of
from deployments.ingress.service import TranscriptionService
from deployments.shared.errors import ConfigurationError, ServiceUnavailableError
from tests.support.asgi import AUDIO, END, FORM, STREAM, bearer, body_of, exchange, ignore, never, scope_of, status
from tests.support.http_service import service
from tests.support.scripted_stages import ScriptedStages

FILE = {"file": ("a.wav", b"never decoded here")}


class Site:
    """A service with two clients, ``ann`` and the operator ``root``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "keys"
        self.user = keys.add(self.file, "ann", operator=False)
        self.operator = keys.add(self.file, "root", operator=True)
        (directory / "shm").mkdir()

    def service(self, stages: ScriptedStages | None = None, **settings: Any) -> TranscriptionService:
        return service(stages or ScriptedStages(), self.directory / "shm", **settings)

    def closed(self, stages: ScriptedStages | None = None, **settings: object) -> ASGIApp:
        """The application as it is with keys."""
        return create_app(self.service(stages, api_keys_file=str(self.file), **settings))

    def key(self, who: str | None) -> str | None:
        return {None: None, "wrong": "wrong", "user": self.user, "operator": self.operator}[who]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def closed(site: Site) -> Iterator[TestClient]:
    with TestClient(site.closed(jobs_dir=str(site.directory / "jobs"))) as client:
        yield client


def transcribe(client: TestClient, key: str | None = None, **fields: str):  # type: ignore[no-untyped-def]  # the client's own response type
    return client.post(AUDIO, files=FILE, data=fields, headers=bearer(key))


class TestKeys:
    @pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
    def test_every_route_asks_for_the_key_that_it_should(self, site: Site, closed: TestClient, route: object) -> None:
        method = next(name for name in ("POST", "DELETE", "GET") if name in route.methods)  # type: ignore[attr-defined]
        path = route.path.replace("{model:path}", "demo-en")  # type: ignore[attr-defined]
        refused = {None: 401, "wrong": 401}
        if route in PUBLIC:
            refused = {}
        elif route in OPERATOR:
            refused |= {"user": 403}
        for who in (None, "wrong", "user", "operator"):
            form = {"files": FILE} if method == "POST" else {}
            answer = closed.request(method, path, headers=bearer(site.key(who)), **form)  # type: ignore[arg-type]
            if path.endswith("translations") and who in {"user", "operator"}:
                assert answer.json()["error"]["code"] == "unsupported_language"
            else:
                found = 404 if any(name in path for name in ("{failure}", "{job}", "{file}")) else 200
                assert answer.status_code == refused.get(who, found), (path, who)

    def test_the_paths_are_grouped_as_the_documentation_says(self) -> None:
        assert {route.path for route in PUBLIC} == {
            "/health/live", "/health/ready", "/openapi.json", "/docs", "/", "/page/{file}",
        }  # fmt: skip
        assert {route.path for route in OPERATOR} == {
            "/health/pipeline", "/stats", "/stats/pipeline", "/stats/stages", "/metrics", "/failures",
            "/failures/{failure}", "/failures/{failure}/audio",
        }  # fmt: skip
        assert len(ROUTES) == len(PUBLIC) + len(OPERATOR) + len(CLIENT)

    @pytest.mark.parametrize(
        "header",
        ["", "Bearer", "Bearer ", "Basic {key}", "{key}", "Bearer{key}", "Bearer {key} {key}", "Bearer x{key}"],
    )
    def test_only_a_bearer_token_counts(self, site: Site, closed: TestClient, header: str) -> None:
        answer = closed.get("/v1/models", headers={"authorization": header.format(key=site.user)})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["x-encoder-device"]
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        assert answer.json()["error"]["code"] == "invalid_api_key"

    def test_the_scheme_may_be_written_in_any_case(self, site: Site, closed: TestClient) -> None:
        assert closed.get("/v1/models", headers={"authorization": f"bearer  {site.user}"}).status_code == 200

    def test_without_keys_everybody_may_do_everything_whatever_they_send(self, site: Site) -> None:
        with TestClient(create_app(site.service())) as client:
            for headers in ({}, bearer("unused")):
                assert client.get("/stats", headers=headers).status_code == 200
                assert client.post(AUDIO, files=FILE, headers=headers).status_code == 200

    def test_a_key_can_be_taken_away_and_given_while_the_service_runs(self, site: Site, closed: TestClient) -> None:
        assert transcribe(closed, site.user).status_code == 200
        keys.remove(site.file, "ann")
        assert transcribe(closed, site.user).status_code == 401
        assert transcribe(closed, keys.add(site.file, "carl", operator=False)).status_code == 200

    def test_a_bad_key_file_stops_the_start(self, site: Site) -> None:
        site.file.write_text("ann", encoding="utf-8")
        with pytest.raises(ConfigurationError, match="line 1"):
            site.closed()
        with pytest.raises(ConfigurationError, match="line 1"):
            build({"api_keys_file": str(site.file)})

    def test_a_path_under_a_route_prefix_is_the_same_path(self, site: Site) -> None:
        with TestClient(site.closed(), root_path="/sequential") as client:
            assert client.get("/sequential/health/live").status_code == 200
            assert client.get("/sequential/stats").status_code == 401
            assert client.get("/sequential/stats", headers=bearer(site.user)).status_code == 403
            assert client.get("/sequential/stats", headers=bearer(site.operator)).status_code == 200

    @pytest.mark.parametrize("path", ["/stats/", "//stats", "/STATS", "/health/live/", "/docs/../stats", "/%73tats"])
    def test_another_spelling_opens_nothing(self, site: Site, closed: TestClient, path: str) -> None:
        whole = f"{closed.base_url}{path}"  # a path alone that begins with // would name another host
        assert closed.get(whole, follow_redirects=False).status_code == 401
        spelled = closed.get(whole, headers=bearer(site.user))
        assert "requests" not in spelled.json()
        assert spelled.status_code in {200, 403, 404}

    def test_the_request_knows_its_client(self, site: Site) -> None:
        seen: list[str] = []

        async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
            del receive, send
            seen.append(state_of(HTTPConnection(scope)).client)

        async def ask(known: KeyFile | None, path: str, key: str | None) -> None:
            headers = [(name.encode(), value.encode()) for name, value in bearer(key).items()]
            scope: Scope = {"type": "http", "path": path, "method": "GET", "headers": headers}
            set_state(scope, RequestState("r", BoundedBody(never, Headers(), 0, UploadPace(1.0, 0))))
            await Authentication(endpoint, known, PUBLIC, OPERATOR)(scope, never, ignore)

        asyncio.run(ask(KeyFile(site.file), "/v1/models", site.user))
        asyncio.run(ask(KeyFile(site.file), "/stats", site.operator))
        asyncio.run(ask(KeyFile(site.file), "/health/live", None))
        asyncio.run(ask(None, "/stats", "unused"))
        assert seen == ["ann", "root", "anonymous", "anonymous"]


class TestPrecedence:
    """401 -> 403 -> 404 or 405 -> 429 -> 413 or 400 -> 503."""

    def test_401_comes_before_everything(self, closed: TestClient) -> None:
        for method, path in (("GET", "/nothing"), ("GET", AUDIO), ("POST", "/stats"), ("POST", AUDIO)):
            assert closed.request(method, path).status_code == 401

    def test_403_comes_before_405(self, site: Site, closed: TestClient) -> None:
        assert closed.post("/stats", headers=bearer(site.user)).status_code == 403
        assert closed.post("/stats", headers=bearer(site.operator)).status_code == 405

    def test_404_and_405_come_before_429_and_cost_nothing(self, site: Site) -> None:
        with TestClient(create_app(site.service(requests_per_minute=1))) as client:
            assert [client.get(path).status_code for path in (AUDIO, "/nothing")] == [405, 404]
            assert transcribe(client).status_code == 200
            assert transcribe(client).status_code == 429
            assert [client.get(path).status_code for path in (AUDIO, "/nothing")] == [405, 404]

    def test_429_comes_before_413_and_400(self, site: Site) -> None:
        with TestClient(create_app(site.service(requests_per_minute=1, max_upload_bytes=1000))) as client:
            assert transcribe(client).status_code == 200
            assert client.post(AUDIO, content=bytes(1001)).status_code == 429
            assert client.post(AUDIO, json={}).status_code == 429

    def test_what_the_headers_say_comes_before_503(self, site: Site) -> None:
        async def scenario() -> None:
            full = site.service(slots=1, max_windows_in_flight=1, max_queue_size=0, max_upload_bytes=1000)
            app = create_app(full)
            with full.admission.enter():
                assert await status(app, content_type="application/json") == 400
                assert await status(app, **{"x-timeout-seconds": "soon"}) == 400
                assert await status(app, **{"content-length": "1001"}) == 413
                assert await status(app) == 503
            assert await status(app) == 200

        asyncio.run(scenario())

    @pytest.mark.parametrize(("key", "expected"), [("wrong", 401), ("user", 429)])
    def test_a_refusal_is_sent_before_the_body_is_read(self, site: Site, key: str, expected: int) -> None:
        async def scenario() -> None:
            app = site.closed(requests_per_minute=1)
            assert await status(app, key=site.user) == 200
            order: list[str] = []

            async def receive() -> Message:
                order.append("body")
                return {"type": "http.request", "body": FORM + END, "more_body": False}

            async def send(message: Message) -> None:
                order.append(str(message.get("status", "...")))

            await app(scope_of(key=site.key(key)), receive, send)
            assert order[0] == str(expected)

        asyncio.run(scenario())


class TestLimits:
    def test_the_headers_count_down_and_a_refusal_says_when(self, site: Site) -> None:
        with TestClient(create_app(site.service(requests_per_minute=12))) as client:
            first, second, third = (transcribe(client) for _ in range(3))
        assert [answer.status_code for answer in (first, second, third)] == [200, 200, 429]
        assert [answer.headers["x-ratelimit-limit-requests"] for answer in (first, second, third)] == ["12"] * 3
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in (first, second, third)] == [
            "1",
            "0",
            "0",
        ]
        assert [answer.headers["x-ratelimit-reset-requests"] for answer in (first, second)] == ["5s", "10s"]
        assert third.headers["retry-after"] == "5"
        assert third.headers["x-encoder-device"] == "cpu:test"
        assert third.json()["error"]["code"] == "rate_limit_exceeded"

    def test_errors_and_streams_carry_the_headers_and_other_routes_do_not(self, site: Site) -> None:
        with TestClient(create_app(site.service(requests_per_minute=600))) as client:
            assert "x-ratelimit-limit-requests" in transcribe(client, stream="true").headers
            assert "x-ratelimit-limit-requests" in client.post(AUDIO, json={}).headers
            assert "x-ratelimit-limit-requests" not in client.get("/v1/models").headers

    def test_no_limit_no_headers(self, site: Site) -> None:
        with TestClient(create_app(site.service(max_concurrent_requests=1))) as client:
            assert not [name for name in transcribe(client).headers if name.startswith("x-ratelimit")]

    def test_transcriptions_and_translations_are_counted_together(self, site: Site) -> None:
        with TestClient(create_app(site.service(requests_per_minute=1))) as client:
            assert transcribe(client).status_code == 200
            assert client.post("/v1/audio/translations", files=FILE).status_code == 429

    def test_each_client_has_its_own_limit_and_those_without_a_key_share_one(self, site: Site) -> None:
        with TestClient(site.closed(requests_per_minute=1)) as client:
            asked = [site.user, site.user, site.operator, site.operator]
            assert [transcribe(client, key).status_code for key in asked] == [200, 429, 200, 429]
        with TestClient(create_app(site.service(requests_per_minute=1))) as client:
            assert transcribe(client, "one").status_code == 200
            assert transcribe(client, "another").status_code == 429
            forwarded = {"x-forwarded-for": "203.0.113.7"}
            assert client.post(AUDIO, files=FILE, headers=forwarded).status_code == 429, "clients can write that"

    def test_what_is_open_to_all_is_not_limited(self, site: Site) -> None:
        with TestClient(create_app(site.service(requests_per_minute=1, max_concurrent_requests=1))) as client:
            assert [client.get("/v1/models").status_code for _ in range(5)] == [200] * 5
            assert [client.get("/health/ready").status_code for _ in range(5)] == [200] * 5


class Gate:
    """Lets the first window through, and all others when it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, index: int) -> None:
        if index == 0:
            return
        self.reached.set()
        await self.open.wait()


class TestPlaces:
    """With one request at a time allowed, a place that does not come back shows at the next request."""

    def run(
        self,
        site: Site,
        scenario: Callable[[ASGIApp, Gate], Awaitable[None]],
        delay: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        async def whole() -> None:
            gate = Gate()
            app = site.closed(ScriptedStages(2, delay or gate), max_concurrent_requests=1)
            async with asyncio.timeout(10):
                await scenario(app, gate)
                gate.open.set()
                assert await status(app, key=site.user) == 200

        asyncio.run(whole())

    @pytest.mark.parametrize("form", [FORM, STREAM + FORM], ids=["whole", "stream"])
    def test_it_is_held_until_the_end_of_the_answer(self, site: Site, form: bytes) -> None:
        async def scenario(app: ASGIApp, gate: Gate) -> None:
            first = asyncio.create_task(exchange(app, form, key=site.user))
            await gate.reached.wait()
            refused = await exchange(app, key=site.user)
            assert refused[0]["status"] == 429
            assert json.loads(refused[1]["body"])["error"]["code"] == "too_many_concurrent_requests"
            assert (b"retry-after", b"1") in refused[0]["headers"]
            assert await status(app, b"", key=site.operator) == 400, "another client has its own place"
            gate.open.set()
            assert (await first)[0]["status"] == 200

        self.run(site, scenario)

    def test_it_is_back_before_the_client_sees_the_end(self, site: Site) -> None:
        async def scenario(app: ASGIApp, gate: Gate) -> None:
            gate.open.set()
            next_one: list[int] = []

            async def send(message: Message) -> None:
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    next_one.append(await status(app, key=site.user))

            await app(scope_of(key=site.user), body_of(STREAM + FORM), send)
            assert next_one == [200]

        self.run(site, scenario)

    def test_an_error_gives_it_back(self, site: Site) -> None:
        async def scenario(app: ASGIApp, _: Gate) -> None:
            assert await status(app, b"", key=site.user) == 400
            assert await status(app, content_type="text/plain", key=site.user) == 400

        self.run(site, scenario)

    @pytest.mark.parametrize("form", [FORM, STREAM + FORM], ids=["whole", "stream"])
    @pytest.mark.parametrize("error", [ServiceUnavailableError("gone"), RuntimeError("what nobody foresaw")])
    def test_a_stage_that_fails_gives_it_back(self, site: Site, form: bytes, error: Exception) -> None:
        errors = iter([error])

        async def fails_once(index: int) -> None:
            if index == 1:
                for first in errors:
                    raise first

        async def scenario(app: ASGIApp, _: Gate) -> None:
            with suppress(RuntimeError):  # Starlette shows it to the server as well
                await exchange(app, form, key=site.user)
            assert next(errors, None) is None, "it did fail"

        self.run(site, scenario, fails_once)

    def test_a_client_that_leaves_in_the_middle_of_a_stream_gives_it_back(self, site: Site) -> None:
        async def scenario(app: ASGIApp, gate: Gate) -> None:
            messages = iter([{"type": "http.request", "body": STREAM + FORM + END, "more_body": False}])

            async def receive() -> Message:
                for message in messages:
                    return message
                await gate.reached.wait()
                return {"type": "http.disconnect"}

            await app(scope_of(key=site.user), receive, ignore)
            assert not gate.open.is_set()

        self.run(site, scenario)

    def test_a_client_that_leaves_while_sending_gives_it_back(self, site: Site) -> None:
        async def scenario(app: ASGIApp, _: Gate) -> None:
            messages = iter([{"type": "http.request", "body": FORM, "more_body": True}])

            async def receive() -> Message:
                return next(messages, {"type": "http.disconnect"})

            await app(scope_of(key=site.user), receive, ignore)

        self.run(site, scenario)

    @pytest.mark.parametrize("form", [FORM, STREAM + FORM], ids=["whole", "stream"])
    def test_a_request_that_is_cancelled_gives_it_back(self, site: Site, form: bytes) -> None:
        async def scenario(app: ASGIApp, gate: Gate) -> None:
            asking = asyncio.create_task(exchange(app, form, key=site.user))
            await gate.reached.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

        self.run(site, scenario)

    def test_an_answer_that_cannot_be_sent_gives_it_back(self, site: Site) -> None:
        async def scenario(app: ASGIApp, gate: Gate) -> None:
            gate.open.set()

            async def send(_: Message) -> None:
                raise OSError("the connection is gone")

            with pytest.raises(OSError, match="gone"):
                await app(scope_of(key=site.user), body_of(FORM), send)

        self.run(site, scenario)


def test_the_official_client_raises_the_errors_it_has_for_them(site: Site) -> None:
    with TestClient(site.closed(requests_per_minute=1)) as http:

        def client(key: str) -> openai.OpenAI:
            return openai.OpenAI(base_url="http://testserver/v1", api_key=key, http_client=http, max_retries=0)

        file = ("a.wav", b"never decoded here")
        assert client(site.user).audio.transcriptions.create(file=file, model="whisper-1").text == "0"
        with pytest.raises(openai.RateLimitError, match="wait 60 s"):
            client(site.user).audio.transcriptions.create(file=file, model="whisper-1")
        with pytest.raises(openai.AuthenticationError) as unknown:
            client("wrong").audio.transcriptions.create(file=file, model="whisper-1")
        assert unknown.value.code == "invalid_api_key"
        with pytest.raises(openai.PermissionDeniedError):
            client(site.user).get("/../stats", cast_to=object)


def test_keys_are_in_no_log_and_no_answer(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def breaks(_: int) -> None:
        raise RuntimeError("broken")

    secrets = [site.user, site.operator, *(line.split()[1] for line in site.file.read_text("utf-8").splitlines())]
    app = site.closed(ScriptedStages(1, breaks), requests_per_minute=6)
    with TestClient(app, raise_server_exceptions=False) as client:
        answers = [client.get(path, headers=bearer(key)) for path in ("/stats", "/nothing", AUDIO) for key in secrets]
        answers += [transcribe(client, key) for key in secrets * 2]
        site.file.write_text("\n".join(secrets), encoding="utf-8")
        answers.append(transcribe(client, site.user))
    told = caplog.text + "".join(f"{answer.headers}{answer.text}" for answer in answers)
    assert {answer.status_code for answer in answers} >= {200, 401, 403, 404, 405, 429, 500}
    assert "stay as they were" in told
    assert not [secret for secret in secrets if secret in told]


# Plain ASGI, for what a client library cannot do
