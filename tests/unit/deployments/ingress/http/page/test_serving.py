"""The page is served as browsers need it, to everybody, and may load nothing from elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from deployments.commands import keys
from deployments.ingress.http.page.serving import STATIC
from deployments.ingress.http.routes import create_app
from tests.support.asgi import bearer
from tests.support.http_service import service
from tests.support.scripted_stages import ScriptedStages

NAMES = sorted(path.name for path in STATIC.iterdir())
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
ADDRESSES = ("/", *(f"/page/{name}" for name in NAMES))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service without keys."""
    with TestClient(create_app(service(ScriptedStages(), tmp_path_factory.mktemp("shm")))) as running:
        yield running


def test_the_root_is_the_page(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.text == (STATIC / "index.html").read_text(encoding="utf-8")
    assert answer.headers["content-type"] == TYPES["html"]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_has_its_type(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.content == (STATIC / name).read_bytes()
    assert answer.headers["content-type"] == TYPES[name.rpartition(".")[2]]


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_from_elsewhere_may_be_loaded_and_nobody_may_frame_it(client: TestClient, address: str) -> None:
    headers = client.get(address).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy.pop("media-src") == "blob:"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["permissions-policy"].startswith("microphone=(self)")


def test_a_copy_that_is_the_same_is_not_sent_again(client: TestClient) -> None:
    first, other = client.get("/"), client.get("/page/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/", headers={"if-none-match": f'W/"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/", headers={"if-none-match": other.headers["etag"]}).status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "serving.py", "..%2fserving.py", "%2e%2e", "static"])
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_the_page_can_only_be_read(client: TestClient) -> None:
    assert client.post("/").json()["error"]["code"] == "method_not_allowed"


def test_where_there_are_keys_the_page_needs_none_and_what_it_asks_for_does(tmp_path: Path) -> None:
    key = keys.add(tmp_path / "keys", "ann", operator=False)
    (tmp_path / "shm").mkdir()
    asked = service(ScriptedStages(), tmp_path / "shm", api_keys_file=str(tmp_path / "keys"))
    with TestClient(create_app(asked)) as client:
        assert {client.get(address).status_code for address in ADDRESSES} == {200}
        assert client.get("/v1/models").status_code == client.get("/health").status_code == 401
        assert client.get("/v1/models", headers=bearer(key)).status_code == 200
        assert client.get("/stats/pipeline", headers=bearer(key)).status_code == 403


def test_the_page_is_not_for_pages_of_others(client: TestClient) -> None:
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "script"}
    assert client.get("/page/main.js", headers=embedded).json()["error"]["code"] == "origin_not_allowed"
    assert client.get("/", headers={"host": "evil.example"}).json()["error"]["code"] == "host_not_allowed"
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=followed).status_code == 200
