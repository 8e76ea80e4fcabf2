"""Callbacks reach only the hosts that are named, tell the whole job, and are tried a few times."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from deployments.ingress.jobs import callback
from deployments.ingress.jobs.callback import Callbacks
from deployments.ingress.jobs.job import Job, JobCallback, StoredJob
from deployments.ingress.jobs.store import JobStore
from deployments.shared.errors import CallbackNotAllowedError
from deployments.shared.web_names import origin_of
from tests.support.jobs import ANSWER, added, new_job, run, store_in, until
from tests.support.threaded_server import answering

SOON = (0.0, 0.01, 0.01)


@dataclass
class Hook:
    """A host that is called.

    Attributes:
        statuses: of its answers; 204 after the last one.
        taken: path, headers and body of each request.
    """

    statuses: list[int] = field(default_factory=list)
    delay_s: float = 0.0
    url: str = ""
    taken: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def host(self) -> str:
        origin = origin_of(self.url)
        assert origin is not None
        return origin


@contextmanager
def hooked(*statuses: int, delay_s: float = 0.0) -> Iterator[Hook]:
    hook = Hook(list(statuses), delay_s)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            hook.taken.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            time.sleep(hook.delay_s)
            self.send_response(hook.statuses.pop(0) if hook.statuses else 204)
            self.send_header("location", f"{hook.url}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815  (the name is the base class's)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with answering(Handler) as hook.url:
        yield hook


def ended_job(store: JobStore, url: str) -> str:
    job_id = added(store, new_job(callback=JobCallback(url=url)))
    store.begin_next()
    store.finish(job_id, "done", ANSWER)
    return job_id


def callback_of(store: JobStore, job_id: str) -> JobCallback:
    stored = store.get(job_id)
    assert stored is not None
    assert stored.job.callback is not None
    return stored.job.callback


def deliver(store: JobStore, hosts: Sequence[str], secret: str | None = None) -> None:
    """Send everything that is due, until nothing is."""

    async def scenario() -> None:
        callbacks = Callbacks(store, hosts, secret, SOON)
        callbacks.send_all(store.all())
        await until(lambda: all(not is_pending(stored) for stored in store.all()))
        await callbacks.close()

    run(scenario)


def is_pending(stored: StoredJob) -> bool:
    return stored.job.callback is not None and stored.job.callback.status == "pending"


def test_the_job_is_told_once_as_its_client_would_see_it(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with hooked() as hook:
        job_id = ended_job(store, f"{hook.url}/done?key=1")
        deliver(store, [hook.host])
        deliver(store, [hook.host])
    ((path, headers, body),) = hook.taken
    assert path == "/done?key=1"
    assert headers["content-type"] == "application/json"
    assert "x-callback-signature" not in headers
    assert "prompt" not in json.loads(body)
    told = Job.model_validate_json(body)
    assert (told.id, told.status) == (job_id, "done")
    assert callback_of(store, job_id) == JobCallback(url=f"{hook.url}/done?key=1", status="delivered", attempts=1)


def test_the_end_of_a_job_that_was_cancelled_is_told_too(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with hooked() as hook:
        store.cancel(added(store, new_job(callback=JobCallback(url=hook.url))))
        deliver(store, [hook.host])
    assert [json.loads(body)["status"] for _, _, body in hook.taken] == ["cancelled"]


def test_nobody_is_called_before_the_end(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with hooked() as hook:
        added(store, new_job(callback=JobCallback(url=hook.url)))

        async def scenario() -> None:
            callbacks = Callbacks(store, [hook.host], None, SOON)
            callbacks.send_all(store.all())
            await asyncio.sleep(0.05)
            await callbacks.close()

        run(scenario)
    assert not hook.taken


def test_the_body_is_signed_where_there_is_a_secret(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with hooked() as hook:
        ended_job(store, hook.url)
        deliver(store, [hook.host], "secret")
    ((_, headers, body),) = hook.taken
    assert headers["x-callback-signature"] == f"sha256={hmac.new(b'secret', body, hashlib.sha256).hexdigest()}"


def test_a_failed_attempt_is_followed_by_another(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with hooked(503) as hook:
        job_id = ended_job(store, hook.url)
        deliver(store, [hook.host])
    assert len(hook.taken) == 2
    assert callback_of(store, job_id) == JobCallback(url=hook.url, status="delivered", attempts=2)


def test_after_the_last_attempt_the_job_says_why_nobody_took_it(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with hooked(500, 404, 400, 200) as hook:
        job_id = ended_job(store, hook.url)
        deliver(store, [hook.host])
    assert len(hook.taken) == len(SOON)
    assert callback_of(store, job_id) == JobCallback(url=hook.url, status="failed", attempts=3, reason="status 400")


def test_no_redirect_is_followed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with hooked(302, 307, 308) as hook:
        job_id = ended_job(store, hook.url)
        deliver(store, [hook.host])
    assert [path for path, _, _ in hook.taken] == ["/"] * 3
    assert callback_of(store, job_id).reason == "status 308"


def test_a_host_that_is_not_there_costs_the_job_nothing(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with hooked() as hook:
        url = hook.url
    job_id = ended_job(store, url)
    deliver(store, [url])
    assert callback_of(store, job_id).status == "failed"
    assert callback_of(store, job_id).reason == "no connection (ConnectionError)"
    stored = store.get(job_id)
    assert stored is not None
    assert stored.job.status == "done"


def test_a_host_that_does_not_answer_is_left_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback, "TIMEOUT_S", 0.05)
    store = store_in(tmp_path)
    with hooked(delay_s=0.2) as hook:
        job_id = ended_job(store, hook.url)
        deliver(store, [hook.host])
    assert callback_of(store, job_id).reason == "no answer within 0.05 s"


def test_a_host_that_is_not_named_any_more_is_not_called(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with hooked() as hook:
        job_id = ended_job(store, hook.url)
        deliver(store, ["https://other.example.org"])
    assert not hook.taken
    assert callback_of(store, job_id).status == "failed"


def test_what_is_due_is_sent_once_however_often_it_is_looked_for(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with hooked(delay_s=0.05) as hook:
        job_id = ended_job(store, hook.url)
        stale = store.all()

        async def scenario() -> None:
            callbacks = Callbacks(store, [hook.host], None, SOON)
            for _ in range(3):
                callbacks.send_all(stale)
            await until(lambda: callback_of(store, job_id).status == "delivered")
            callbacks.send_all(stale)
            await callbacks.close()

        run(scenario)
    assert len(hook.taken) == 1


def test_what_was_not_delivered_before_a_stop_is_after_the_next_start(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with hooked(503) as hook:
        job_id = ended_job(store, hook.url)

        async def stopped() -> None:
            callbacks = Callbacks(store, [hook.host], None, (0.0, 60.0))
            callbacks.send_all(store.all())
            await until(lambda: callback_of(store, job_id).attempts == 1)
            await callbacks.close()

        run(stopped)
        deliver(store_in(tmp_path), [hook.host])
    assert callback_of(store, job_id) == JobCallback(url=hook.url, status="delivered", attempts=2)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org/done?x=1", "https://HOOKS.example.org", "https://hooks.example.org:443/",
        "http://plain.example.org:8080/a", "https://other.example.org:8443/",
    ],
)  # fmt: skip
def test_a_host_that_is_named_may_be_called(tmp_path: Path, url: str) -> None:
    hosts = ["https://hooks.example.org", "http://plain.example.org:8080", "https://other.example.org:8443"]
    Callbacks(store_in(tmp_path), hosts, None).check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/", "https://hooks.example.org:8443/", "https://evil.example.org/",
        "https://hooks.example.org.evil.org/", "https://a@hooks.example.org/", "https://hooks.example.org@evil.org/",
        "https://evil.org\\@hooks.example.org/", "https://hooks.example.org\\@evil.org/", "https://hooks.example.org:/",
        "https://hooks.example.org:x/", "https://hooks.example.org\n.evil.org/", "https:///done", "hooks.example.org",
        "file:///etc/passwd", "ftp://hooks.example.org/", "", "https://[::1", "https://hooks.éxample.org/",
    ],
)  # fmt: skip
def test_any_other_host_is_rejected_with_the_setting_that_names_them(tmp_path: Path, url: str) -> None:
    with pytest.raises(CallbackNotAllowedError, match="callback_hosts") as caught:
        Callbacks(store_in(tmp_path), ["https://hooks.example.org"], None).check_url(url)
    assert caught.value.param == "callback_url"
