"""A stream that waits shows that it lives, and keeps its place in the queue; its end is that of every stream."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import openai
import pytest
from anyio.from_thread import BlockingPortal
from starlette.testclient import TestClient
from starlette.types import Message

from deployments.ingress.http.routes import create_app
from deployments.ingress.request import Priority
from deployments.ingress.scheduling.slots import Lease
from deployments.ingress.service import TranscriptionService
from deployments.shared.contracts import BlobRef, PreparedAudio, SpeechOptions, Ticket
from deployments.shared.errors import InvalidAudioError, ServiceUnavailableError
from tests.support.asgi import FORM, STREAM, body_of, scope_of
from tests.support.http_service import DATA, FILE, events_of, post, service, wait_until
from tests.support.scripted_stages import ScriptedStages

PERIOD_S = 0.05
WAITING = ": waiting\n\n"


@pytest.fixture(autouse=True)
def short_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.ingress.http.pauses.PERIOD_S", PERIOD_S)


class SlowStages(ScriptedStages):
    """Takes its time to prepare the audio, and finds fault with it where it has no window."""

    prepare_s = 0.0

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        await asyncio.sleep(self.prepare_s)
        if not self.windows:
            raise InvalidAudioError("This is no audio")
        return await super().prepare(ticket, upload, options)


async def slowly(_: int) -> None:
    await asyncio.sleep(2.5 * PERIOD_S)


def test_comments_fill_the_pauses_before_the_first_event_and_between_events(tmp_path: Path) -> None:
    stages = SlowStages(2, slowly)
    stages.prepare_s = 2.5 * PERIOD_S
    with TestClient(create_app(service(stages, tmp_path, max_windows_in_flight=1))) as client:
        text = post(client, stream="true").text
    before, _, after = text.partition(DATA)
    assert before.count(WAITING) >= 4
    assert after.partition(DATA)[0].count(WAITING) >= 1
    assert [event["type"] for event in events_of(text)] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]


def test_a_stream_without_pauses_has_no_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.ingress.http.pauses.PERIOD_S", 10.0)
    with TestClient(create_app(service(SlowStages(2), tmp_path))) as client:
        assert WAITING not in post(client, stream="true").text


def test_bad_audio_has_its_own_status_unless_the_stream_has_begun(tmp_path: Path) -> None:
    stages = SlowStages(0)
    with TestClient(create_app(service(stages, tmp_path))) as client:
        at_once = post(client, stream="true")
        assert (at_once.status_code, at_once.json()["error"]["code"]) == (400, "invalid_audio")
        stages.prepare_s = 1.5 * PERIOD_S
        late = post(client, stream="true")
    assert late.status_code == 200
    comment, event, nothing = late.text.split("\n\n")
    assert (comment, nothing) == (": waiting", "")
    assert json.loads(event.removeprefix(DATA))["error"]["code"] == "invalid_audio"


class Busy(NamedTuple):
    """A service with one slot, which ``lease`` holds, and one place in the queue."""

    client: TestClient
    asked: TranscriptionService
    lease: Lease
    portal: BlockingPortal


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Busy]:
    asked = service(ScriptedStages(), tmp_path, slots=1, max_windows_in_flight=1, max_queue_size=1)
    with TestClient(create_app(asked)) as client:
        assert client.portal is not None
        lease = client.portal.call(asked.admission.next_slot, Priority.NORMAL, float("inf"))
        yield Busy(client, asked, lease, client.portal)
        client.portal.call(lease.close)
    assert asked.admission.in_use == asked.admission.waiting == 0


def test_a_stream_that_has_begun_keeps_its_place_in_the_queue(busy: Busy) -> None:
    client, asked = busy.client, busy.asked
    headers = {"x-timeout-seconds": f"{5 * PERIOD_S}"}
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(
            client.post, "/v1/audio/transcriptions", files={"file": b"x"}, data={"stream": "true"}, headers=headers
        )
        wait_until(lambda: asked.admission.waiting == 1)
        assert post(client).json()["error"]["code"] == "queue_full"
        answer = waiting.result()
    assert answer.status_code == 200
    assert answer.text.startswith(WAITING)
    assert '"code": "queue_timeout"' in answer.text


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_stream_may_be_displaced_while_it_waits(
    busy: Busy, monkeypatch: pytest.MonkeyPatch, *, has_begun: bool
) -> None:
    if not has_begun:
        monkeypatch.setattr("deployments.ingress.http.pauses.PERIOD_S", 60.0)
    low, high = {"x-priority": "low"}, {"x-priority": "high"}
    ask = partial(busy.client.post, "/v1/audio/transcriptions", files=FILE)
    with ThreadPoolExecutor() as threads:
        displaced = threads.submit(ask, data={"stream": "true"}, headers=low)
        wait_until(lambda: busy.asked.admission._queues.has_waiters)
        busy.portal.call(asyncio.sleep, 2.5 * PERIOD_S)
        served = threads.submit(ask, headers=high)
        answer = displaced.result()
        busy.portal.call(busy.lease.close)
        assert served.result().status_code == 200
    assert answer.status_code == (200 if has_begun else 503)
    document = answer.text.rpartition(DATA)[2] if has_begun else answer.text
    assert json.loads(document)["error"]["code"] == "overloaded"
    assert busy.asked.statistics.failures == {"overloaded": 1}


def test_a_client_that_hangs_up_between_two_comments_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        release = asyncio.Event()

        async def waits(_: int) -> None:
            await release.wait()

        asked = service(ScriptedStages(1, waits), tmp_path)
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)
            if len(sent) == 4:
                raise OSError("the client is gone")

        scope = {**scope_of(), "asgi": {"spec_version": "2.4"}}
        await asyncio.gather(create_app(asked)(scope, body_of(FORM + STREAM), send), return_exceptions=True)
        assert [message.get("body") for message in sent[1:]] == [b": waiting\n\n"] * 3
        assert asked.statistics.failures == {"client_closed_request": 1}
        assert asked.statistics.pending_responses == asked.admission.waiting == 0
        release.set()
        await asyncio.sleep(PERIOD_S)
        assert asked.admission.in_use == 0, "its slot is free as soon as the call that used it has ended"

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_openais_client_reads_comments_events_and_the_end(tmp_path: Path) -> None:
    stages = SlowStages(2, slowly)
    stages.prepare_s = 1.5 * PERIOD_S
    with TestClient(create_app(service(stages, tmp_path))) as http:
        asked = openai.OpenAI(base_url="http://testserver/v1", api_key="unused", http_client=http, max_retries=0)
        events = list(asked.audio.transcriptions.create(file=("a.wav", b"x"), model="whisper-1", stream=True))
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == "0 1"


def test_openais_client_raises_the_error_in_a_stream(tmp_path: Path) -> None:
    async def fails(_: int) -> None:
        raise ServiceUnavailableError("the decoder is gone")

    with TestClient(create_app(service(ScriptedStages(1, fails), tmp_path))) as http:
        asked = openai.OpenAI(base_url="http://testserver/v1", api_key="unused", http_client=http, max_retries=0)
        stream = asked.audio.transcriptions.create(file=("a.wav", b"x"), model="whisper-1", stream=True)
        with pytest.raises(openai.APIError, match="the decoder is gone"):
            list(stream)
