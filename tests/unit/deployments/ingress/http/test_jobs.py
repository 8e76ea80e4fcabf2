"""Jobs over HTTP: the answer that comes later is the one that would have come at once, and it is its client's alone."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.commands import keys
from deployments.ingress.http.routes import create_app
from deployments.ingress.service import TranscriptionService
from deployments.shared.contracts import BlobRef, PreparedAudio, SpeechOptions, Ticket
from deployments.shared.errors import InvalidAudioError
from tests.support.asgi import AUDIO, bearer
from tests.support.http_service import FILE, service, wait_for_work, wait_until
from tests.support.scripted_stages import ScriptedStages
from tests.support.threaded_server import answering

LATER = f"{AUDIO}?async=true"
ENDED = {"done", "failed", "cancelled"}


class Gate:
    """Lets windows through once it is open."""

    def __init__(self, closed_from: int = 0) -> None:
        self.closed_from = closed_from
        self.is_open = threading.Event()

    async def pass_window(self, index: int) -> None:
        while index >= self.closed_from and not self.is_open.is_set():  # noqa: ASYNC110  (another thread opens it)
            await asyncio.sleep(0.005)


class BadAudio(ScriptedStages):
    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        del ticket, upload, options
        raise InvalidAudioError("The file is cut off; send all of it", param="file")


@contextmanager
def running(directory: Path, stages: ScriptedStages | None = None, **settings: Any) -> Iterator[TestClient]:
    made = service_of(directory, stages, **settings)
    with TestClient(create_app(made)) as client:
        yield client


def service_of(directory: Path, stages: ScriptedStages | None = None, **settings: Any) -> TranscriptionService:
    (directory / "shm").mkdir(exist_ok=True)
    settings = {"jobs_dir": str(directory / "jobs"), **settings}
    return service(stages or ScriptedStages(3), directory / "shm", **settings)


def submit(client: TestClient, key: str | None = None, /, **fields: str) -> dict[str, Any]:
    answer = client.post(LATER, files=FILE, data=fields, headers=bearer(key))
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{document['id']}"
    return document


def job(client: TestClient, job_id: str, key: str | None = None) -> dict[str, Any]:
    answer = client.get(f"/v1/jobs/{job_id}", headers=bearer(key))
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def ended(client: TestClient, job_id: str, key: str | None = None) -> dict[str, Any]:
    """The job once it has ended."""
    wait_until(lambda: job(client, job_id, key)["status"] in ENDED)
    return job(client, job_id, key)


def wait_for_status(client: TestClient, job_id: str, status: str) -> None:
    wait_until(lambda: job(client, job_id)["status"] == status)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


class TestResult:
    @pytest.mark.parametrize(
        "fields",
        [
            {}, {"response_format": "text"}, {"response_format": "srt"}, {"response_format": "vtt"},
            {"response_format": "verbose_json", "timestamp_granularities[]": "word"},
        ],
    )  # fmt: skip
    def test_it_is_the_answer_that_would_have_come_at_once(self, tmp_path: Path, fields: dict[str, str]) -> None:
        with running(tmp_path) as client:
            at_once = client.post(AUDIO, files=FILE, data=fields)
            job_id = submit(client, **fields)["id"]
            done = ended(client, job_id)
            assert done["status"] == "done"
            result = client.get(f"/v1/jobs/{job_id}/result")
            assert (result.status_code, result.content) == (200, at_once.content)
            for name in ("content-type", "x-encoder-device", "content-length"):
                assert result.headers[name] == at_once.headers[name]
            assert client.get(f"/v1/jobs/{job_id}/result").content == at_once.content, "it can be had again"

    def test_of_bad_audio_it_is_the_error_that_would_have_come(self, tmp_path: Path) -> None:
        with running(tmp_path, BadAudio()) as client:
            at_once = client.post(AUDIO, files=FILE)
            job_id = submit(client)["id"]
            failed = ended(client, job_id)
            assert (failed["status"], failed["error"]) == ("failed", at_once.json()["error"])
            result = client.get(f"/v1/jobs/{job_id}/result")
            assert (result.status_code, result.json()) == (at_once.status_code, at_once.json())
            assert client.get("/stats").json()["requests"]["failed"] == {"invalid_audio": 2}

    def test_there_is_none_before_the_end_and_none_of_a_cancelled_job(self, tmp_path: Path) -> None:
        gate = Gate()
        with running(tmp_path, ScriptedStages(1, gate.pass_window)) as client:
            job_id = submit(client)["id"]
            wait_for_status(client, job_id, "running")
            assert code(client.get(f"/v1/jobs/{job_id}/result")) == (409, "job_not_done")
            client.delete(f"/v1/jobs/{job_id}")
            assert code(client.get(f"/v1/jobs/{job_id}/result")) == (409, "job_cancelled")


class TestJob:
    def test_its_document_tells_how_far_it_is(self, tmp_path: Path) -> None:
        gate = Gate(closed_from=2)
        with running(tmp_path, ScriptedStages(3, gate.pass_window)) as client:
            waiting = submit(client)
            assert waiting["status"] == "queued"
            assert (waiting["filename"], waiting["task"], waiting["client"]) == ("a.wav", "transcribe", "anonymous")
            assert waiting["started_at"] is waiting["finished_at"] is waiting["progress"] is waiting["error"] is None
            at_two = {"seconds_done": 2.0, "seconds": 3.0, "windows_done": 2, "windows": 3}
            wait_until(lambda: job(client, waiting["id"])["progress"] == at_two)
            assert job(client, waiting["id"])["status"] == "running"
            gate.is_open.set()
            done = ended(client, waiting["id"])
            assert done["progress"] == {"seconds_done": 3.0, "seconds": 3.0, "windows_done": 3, "windows": 3}
            assert done["created_at"] <= done["started_at"] <= done["finished_at"]

    def test_a_live_request_goes_first_unless_the_form_or_the_header_says_otherwise(self, tmp_path: Path) -> None:
        stages = ScriptedStages()
        with running(tmp_path, stages) as client:
            for fields, headers in (({}, {}), ({"priority": "high"}, {}), ({}, {"x-priority": "normal"})):
                job_id = client.post(LATER, files=FILE, data=fields, headers=headers).json()["id"]
                ended(client, job_id)
        assert stages.priorities == [2, 0, 1]

    def test_a_translation_is_a_job_too(self, tmp_path: Path) -> None:
        with running(tmp_path) as client:
            refused = client.post("/v1/audio/translations?async=true", files=FILE)
            assert code(refused) == (400, "unsupported_language"), "this model cannot, which is said at once"

    def test_the_list_has_the_newest_first(self, tmp_path: Path) -> None:
        with running(tmp_path) as client:
            ids = [submit(client)["id"] for _ in range(3)]
            listed = client.get("/v1/jobs").json()
            assert listed["object"] == "list"
            assert [entry["id"] for entry in listed["data"]] == ids[::-1]

    def test_the_location_is_below_the_prefix_of_the_application(self, tmp_path: Path) -> None:
        with TestClient(create_app(service_of(tmp_path)), root_path="/sequential") as client:
            location = client.post(f"/sequential{LATER}", files=FILE).headers["location"]
            assert client.get(location).status_code == 200

    def test_what_it_does_is_counted_as_a_request(self, tmp_path: Path) -> None:
        with running(tmp_path) as client:
            ended(client, submit(client)["id"])
            figures = client.get("/stats").json()["requests"]
            assert (figures["answered"], figures["audio_seconds"], figures["failed"]) == (1, 3.0, {})


class TestDeletion:
    def test_a_running_job_is_cancelled_at_once_and_its_slots_are_free_with_its_calls(self, tmp_path: Path) -> None:
        gate = Gate()
        made = service_of(tmp_path, ScriptedStages(3, gate.pass_window))
        with TestClient(create_app(made)) as client:
            job_id = submit(client)["id"]
            wait_for_work(made)
            cancelled = client.delete(f"/v1/jobs/{job_id}").json()
            assert (cancelled["id"], cancelled["status"]) == (job_id, "cancelled")
            wait_until(lambda: made.statistics.pending_responses == 0)
            gate.is_open.set()
            wait_until(lambda: made.admission.in_use == 0)
            assert not list((tmp_path / "jobs").glob("*.audio"))
            assert job(client, job_id)["status"] == "cancelled"

    def test_a_job_that_has_ended_is_forgotten(self, tmp_path: Path) -> None:
        with running(tmp_path) as client:
            job_id = submit(client)["id"]
            ended(client, job_id)
            assert client.delete(f"/v1/jobs/{job_id}").json() == {"id": job_id, "deleted": True}
            for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/result"):
                assert code(client.get(path)) == (404, "job_not_found")
            assert code(client.delete(f"/v1/jobs/{job_id}")) == (404, "job_not_found")
            assert not list((tmp_path / "jobs").glob("job_*"))


class TestClients:
    @pytest.fixture
    def key_file(self, tmp_path: Path) -> Path:
        return tmp_path / "keys"

    def test_a_job_is_its_clients_alone_and_the_operators(self, tmp_path: Path, key_file: Path) -> None:
        ann, bob = (keys.add(key_file, name, operator=False) for name in ("ann", "bob"))
        root = keys.add(key_file, "root", operator=True)
        with running(tmp_path, api_keys_file=str(key_file)) as client:
            job_id = submit(client, ann)["id"]
            assert ended(client, job_id, ann)["client"] == "ann"
            for method, path in (("GET", ""), ("GET", "/result"), ("DELETE", "")):
                foreign = client.request(method, f"/v1/jobs/{job_id}{path}", headers=bearer(bob))
                unknown = client.request(method, f"/v1/jobs/job_{'0' * 32}{path}", headers=bearer(bob))
                assert code(foreign) == code(unknown) == (404, "job_not_found")
                assert foreign.text.replace(job_id, "ID") == unknown.text.replace(f"job_{'0' * 32}", "ID")
            listed = {
                who: [entry["id"] for entry in client.get("/v1/jobs", headers=bearer(who)).json()["data"]]
                for who in (ann, bob, root)
            }
            assert listed == {ann: [job_id], bob: [], root: [job_id]}
            assert client.delete(f"/v1/jobs/{job_id}", headers=bearer(root)).status_code == 200

    def test_to_send_a_job_counts_for_the_limits_and_to_ask_for_it_does_not(self, tmp_path: Path) -> None:
        with running(tmp_path, requests_per_minute=1) as client:
            job_id = submit(client)["id"]
            refused = client.post(LATER, files=FILE)
            assert code(refused) == (429, "rate_limit_exceeded")
            assert refused.headers["x-ratelimit-limit-requests"] == "1"
            ended(client, job_id)
            assert client.get(f"/v1/jobs/{job_id}/result").status_code == 200


class TestRefusals:
    def test_without_a_directory_the_setting_is_named(self, tmp_path: Path) -> None:
        with TestClient(create_app(service(ScriptedStages(), tmp_path))) as client:
            for answer in (
                client.post(LATER, files=FILE), client.get("/v1/jobs"), client.get("/v1/jobs/x"),
                client.delete("/v1/jobs/x"), client.get("/v1/jobs/x/result"),
            ):  # fmt: skip
                assert code(answer) == (400, "jobs_disabled")
                assert "jobs_dir" in answer.json()["error"]["message"]
            assert client.post(f"{AUDIO}?async=false", files=FILE).status_code == 200

    @pytest.mark.parametrize(
        ("query", "fields", "headers", "param"),
        [
            ("async=maybe", {}, {}, "async"),
            ("async=true", {"stream": "true"}, {}, "stream"),
            ("async=true", {}, {"x-timeout-seconds": "60"}, "x-timeout-seconds"),
            ("async=true", {}, {"x-priority": "highest"}, "x-priority"),
            ("async=true", {"model": "another"}, {}, "model"),
            ("async=true", {"language": "xx"}, {}, "language"),
            ("async=true", {"callback_url": "https://elsewhere.example.org"}, {}, "callback_url"),
            ("async=false", {"callback_url": "https://hooks.example.org"}, {}, "callback_url"),
        ],
    )
    def test_what_a_job_cannot_give_is_rejected_at_once(
        self, tmp_path: Path, query: str, fields: dict[str, str], headers: dict[str, str], param: str
    ) -> None:
        with running(tmp_path, callback_hosts=["hooks.example.org"]) as client:
            answer = client.post(f"{AUDIO}?{query}", files=FILE, data=fields, headers=headers)
            assert answer.status_code == (404 if param == "model" else 400)
            assert answer.json()["error"]["param"] == param
            assert client.get("/v1/jobs").json()["data"] == []

    def test_an_empty_file_is_rejected_at_once(self, tmp_path: Path) -> None:
        with running(tmp_path) as client:
            assert code(client.post(LATER, files={"file": ("a.wav", b"")})) == (400, "invalid_audio")

    def test_no_more_jobs_than_may_be(self, tmp_path: Path) -> None:
        with running(tmp_path, max_jobs=1) as client:
            job_id = submit(client)["id"]
            refused = client.post(LATER, files=FILE)
            assert code(refused) == (503, "jobs_full")
            assert refused.headers["retry-after"] == "60"
            ended(client, job_id)
            assert code(client.post(LATER, files=FILE)) == (503, "jobs_full"), "a result that nobody read has its place"
            client.delete(f"/v1/jobs/{job_id}")
            submit(client)

    def test_an_upload_that_declares_too_much_is_refused_before_it_is_read(self, tmp_path: Path) -> None:
        with running(tmp_path, max_jobs_bytes=2**20) as client:
            large = {"file": ("a.wav", bytes(2**20))}
            assert code(client.post(LATER, files=large)) == (503, "jobs_full")

    def test_an_upload_that_declares_nothing_counts_as_the_largest_that_may_be(self, tmp_path: Path) -> None:
        form = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\naudio\r\n--x--\r\n'
        headers = {"content-type": "multipart/form-data; boundary=x"}
        for most, expected in ((2**20, 202), (2**21, 503)):
            with running(tmp_path, max_jobs_bytes=2**20 + 1000, max_upload_bytes=most) as client:
                answer = client.post(LATER, content=iter([form]), headers=headers)
                assert answer.status_code == expected
                tmp_path = tmp_path / "next"
                tmp_path.mkdir()

    def test_a_full_queue_refuses_no_job(self, tmp_path: Path) -> None:
        gate = Gate()
        settings: dict[str, Any] = {"slots": 1, "max_windows_in_flight": 1, "max_queue_size": 0}
        made = service_of(tmp_path, ScriptedStages(1, gate.pass_window), **settings)
        with TestClient(create_app(made)) as client:
            first = submit(client)["id"]
            wait_for_work(made)
            assert client.post(AUDIO, files=FILE).status_code == 503
            second = submit(client)["id"]
            gate.is_open.set()
            assert ended(client, first)["status"] == ended(client, second)["status"] == "done"


def test_a_large_upload_lies_on_disk_bit_by_bit_until_its_job_has_ended(tmp_path: Path) -> None:
    gate, audio = Gate(), os.urandom(3 * 2**20)
    with running(tmp_path, ScriptedStages(1, gate.pass_window)) as client:
        job_id = client.post(LATER, files={"file": ("a.wav", audio)}).json()["id"]
        kept = tmp_path / "jobs" / f"{job_id}.audio"
        assert kept.read_bytes() == audio
        gate.is_open.set()
        ended(client, job_id)
        wait_until(lambda: not kept.exists())


class TestStops:
    def test_a_job_survives_a_restart_and_its_result_another(self, tmp_path: Path) -> None:
        with running(tmp_path, ScriptedStages(3, Gate(closed_from=1).pass_window)) as client:
            job_id = submit(client)["id"]
            wait_for_status(client, job_id, "running")
        with running(tmp_path) as client:
            assert ended(client, job_id)["status"] == "done"
        with running(tmp_path) as client:
            assert client.get(f"/v1/jobs/{job_id}/result").json()["text"] == "0 1 2"

    def test_a_service_that_stops_does_not_wait_for_a_job_and_takes_none(self, tmp_path: Path) -> None:
        gate = Gate()
        made = service_of(tmp_path, ScriptedStages(1, gate.pass_window))
        with TestClient(create_app(made)) as client:
            job_id = submit(client)["id"]
            wait_for_status(client, job_id, "running")
            assert client.portal is not None
            draining = client.portal.start_task_soon(made.drain)
            wait_for_status(client, job_id, "queued")
            gate.is_open.set()  # the call that is under way still ends in its slot
            assert draining.result(10)
            assert job(client, job_id)["status"] == "queued"
            assert code(client.post(LATER, files=FILE)) == (503, "draining")


def test_the_end_is_told_to_the_callback_and_the_job_says_so(tmp_path: Path) -> None:
    taken = list[dict[str, Any]]()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with answering(Hook) as url, running(tmp_path, callback_hosts=[url]) as client:
        job_id = submit(client, callback_url=f"{url}/done")["id"]
        wait_until(lambda: job(client, job_id)["callback"]["status"] == "delivered")
        assert [(told["id"], told["status"]) for told in taken] == [(job_id, "done")]
        assert job(client, job_id)["callback"] == {
            "url": f"{url}/done", "status": "delivered", "attempts": 1, "reason": None,
        }  # fmt: skip


def test_metrics_count_jobs(tmp_path: Path) -> None:
    gate = Gate()
    with running(tmp_path, ScriptedStages(1, gate.pass_window)) as client:
        ids = [submit(client)["id"] for _ in range(3)]
        wait_for_status(client, ids[0], "running")
        client.delete(f"/v1/jobs/{ids[2]}")
        for line in ('{status="running"} 1.0', '{status="queued"} 1.0', '{status="cancelled"} 1.0'):
            wait_until(lambda line=line: f"amanuensis_jobs{line}" in client.get("/metrics").text)  # type: ignore[misc]
        gate.is_open.set()
        for line in ('{status="done"} 2.0', '{status="cancelled"} 1.0'):
            wait_until(lambda line=line: f"amanuensis_jobs_ended_total{line}" in client.get("/metrics").text)  # type: ignore[misc]
