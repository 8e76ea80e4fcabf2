"""Which hosts and which web pages a service answers, with and without keys, and what their scripts can read."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.commands import keys
from deployments.ingress.http.routes import create_app
from deployments.ingress.http.web_pages import LOOPBACK, is_allowed_host
from deployments.shared.errors import ServiceUnavailableError
from tests.support.asgi import AUDIO, bearer, status
from tests.support.http_service import FILE, service
from tests.support.scripted_stages import ScriptedStages

HERE = "localhost:9000"
APP = "https://app.example.org"
OTHER = "https://evil.example"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, x-stainless-os"}
READ = ("/stats", "/failures", "/metrics", "/v1/models", "/health", "/health/ready", "/docs", "/nowhere")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A service without keys whose page at ``APP`` may call, known as ``amanuensis`` beside its usual names."""
    asked = service(ScriptedStages(), tmp_path, allowed_hosts=["Amanuensis"], cors_origins=[APP])
    with TestClient(create_app(asked), base_url=f"http://{HERE}") as running:
        yield running


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:9000", "LOCALHOST", "localhost.", "speech.localhost:80"),
        *("127.0.0.1", "127.8.9.1:9000", "[::1]", "[::1]:9000", "10.1.2.3:9000", "[fe80::1%25eth0]:9000"),
    ],
)
def test_names_of_loopback_and_addresses_are_nobody_elses(host: str) -> None:
    assert is_allowed_host(host, LOOPBACK)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:9000", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example"),
        *("amanuensis", "[evil.example]:9000", "@localhost", "1.2.3", ":9000"),
    ],
)
def test_any_other_name_may_be(host: str) -> None:
    assert not is_allowed_host(host, LOOPBACK)
    assert is_allowed_host(host, {"*"})


@pytest.mark.parametrize("path", READ)
def test_a_page_that_rebound_its_name_reads_nothing(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"host": "evil.example:9000", "sec-fetch-site": "same-origin"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")
    assert "allowed_hosts" in answer.json()["error"]["message"]


def test_a_page_that_rebound_its_name_deletes_nothing(client: TestClient) -> None:
    answer = client.delete("/failures/1", headers={"host": "evil.example"})
    assert answer.json()["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize("host", [HERE, "127.0.0.1:9000", "10.0.0.7:9000", "amanuensis:9000", ""])
def test_programs_and_probes_that_name_the_service_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/health/ready", headers={"host": host}).status_code == 200
    assert client.get("/metrics", headers={"host": host}).status_code == 200


def test_a_request_without_a_host_is_answered(tmp_path: Path) -> None:
    assert asyncio.run(status(create_app(service(ScriptedStages(), tmp_path)))) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": OTHER},
        {"origin": "null"},
        {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document", "origin": OTHER},
    ],
)
def test_a_page_of_another_origin_cannot_post(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post(AUDIO, files=FILE, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert "cors_origins" in answer.json()["error"]["message"]
    assert "access-control-allow-origin" not in answer.headers


def test_a_link_from_elsewhere_may_be_followed_but_not_embedded(client: TestClient) -> None:
    for destination, expected in (("document", 200), ("iframe", 403), ("image", 403), ("", 403)):
        headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": destination}
        assert client.get("/docs", headers=headers).status_code == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": APP, "sec-fetch-site": "cross-site"},
        {"origin": f"http://{HERE}", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
def test_pages_of_allowed_origins_and_our_own_may_post(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post(AUDIO, files=FILE, headers=headers).json()["text"] == "0"


def test_refusals_are_counted(client: TestClient) -> None:
    client.get("/stats", headers={"host": "evil.example"})
    client.get("/stats", headers={"origin": OTHER})
    assert client.get("/stats").json()["requests"]["failed"] == {"host_not_allowed": 1, "origin_not_allowed": 1}


def test_with_keys_the_key_decides_and_no_name(tmp_path: Path) -> None:
    key = keys.add(tmp_path / "keys", "root", operator=True)
    (tmp_path / "shm").mkdir()
    asked = service(ScriptedStages(), tmp_path / "shm", api_keys_file=str(tmp_path / "keys"), allowed_hosts=[])
    with TestClient(create_app(asked), base_url="http://amanuensis:9000") as client:
        foreign = {"origin": OTHER, "sec-fetch-site": "cross-site"}
        assert client.get("/stats", headers={**bearer(key), **foreign}).status_code == 200
        assert client.get("/stats", headers=foreign).status_code == 401


def test_every_host_and_every_page_can_be_allowed(tmp_path: Path) -> None:
    asked = service(ScriptedStages(), tmp_path, allowed_hosts=["*"], cors_origins=["*"])
    with TestClient(create_app(asked), base_url="http://anything.example") as client:
        answer = client.post(AUDIO, files=FILE, headers={"origin": OTHER, "sec-fetch-site": "cross-site"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert client.get("/stats", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def readable(headers: object) -> set[str]:
    return {name.strip().lower() for name in str(headers["access-control-expose-headers"]).split(",")}  # type: ignore[index]


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[TestClient]:
    """A service with a key for ``APP`` to send, two requests at once, and a decoder that fails at its second call."""
    tried = iter((None, ServiceUnavailableError("gone", retry_after_s=1)))

    async def fails_then(_: int) -> None:
        error = next(tried)
        if error is not None:
            raise error

    key = keys.add(tmp_path / "keys", "ann", operator=False)
    (tmp_path / "shm").mkdir()
    settings: dict[str, Any] = {
        "api_keys_file": str(tmp_path / "keys"),
        "cors_origins": [APP],
        "requests_per_minute": 12,
    }
    asked = service(ScriptedStages(1, fails_then), tmp_path / "shm", **settings)
    with TestClient(create_app(asked), headers=bearer(key)) as running:
        yield running


def test_an_allowed_page_reads_answers_and_errors_of_every_kind(limited: TestClient) -> None:
    origin = {"origin": APP}
    answers = [
        limited.post(AUDIO, files=FILE, headers=origin),
        limited.post(AUDIO, files=FILE, headers=origin),
        limited.post(AUDIO, files=FILE, headers=origin),
        limited.get("/nowhere", headers=origin),
        limited.get("/stats", headers=origin),
        limited.get("/v1/models", headers={**origin, "authorization": "Bearer wrong"}),
        limited.get("/v1/models", headers={**origin, "x-request-id": "no good id"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 503, 429, 404, 403, 401, 400]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == APP
        assert {"x-request-id", "retry-after", "x-ratelimit-remaining-requests"} <= readable(answer.headers)
        assert answer.headers["x-encoder-device"]
    assert answers[1].headers["retry-after"] == "1"


def test_an_unforeseen_error_can_be_read_too(tmp_path: Path) -> None:
    async def breaks(_: int) -> None:
        raise RuntimeError("a defect")

    app = create_app(service(ScriptedStages(1, breaks), tmp_path, cors_origins=[APP]))
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.post(AUDIO, files=FILE, headers={"origin": APP})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (500, APP)


def test_a_preflight_needs_no_key(limited: TestClient) -> None:
    for method, expected in (("POST", 200), ("PATCH", 400)):
        asked = {**PREFLIGHT, "access-control-request-method": method, "authorization": "", "origin": APP}
        answer = limited.options(AUDIO, headers=asked)
        assert answer.status_code == expected
    answer = limited.options(AUDIO, headers={**PREFLIGHT, "authorization": "", "origin": APP})
    assert answer.headers["access-control-allow-origin"] == APP
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert limited.options(AUDIO, headers={**PREFLIGHT, "origin": OTHER}).status_code == 400


def test_without_allowed_origins_nothing_is_readable(tmp_path: Path) -> None:
    with TestClient(create_app(service(ScriptedStages(), tmp_path)), base_url=f"http://{HERE}") as client:
        own = client.post(AUDIO, files=FILE, headers={"origin": f"http://{HERE}"})
        assert own.status_code == 200
        assert not [name for name in own.headers if name.startswith("access-control")]
        assert client.options(AUDIO, headers={**PREFLIGHT, "origin": APP}).status_code == 403
