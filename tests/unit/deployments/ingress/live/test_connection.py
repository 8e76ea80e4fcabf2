"""How a live session ends: by its client, by its limits, or with the service. Nothing of it is left then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from deployments.ingress.live.connection import Connection
from deployments.ingress.live.outbox import Outbox
from deployments.ingress.live.session import SessionLimits
from deployments.shared.errors import AmanuensisError
from tests.support import virtual_time
from tests.support.live import LIMITS, PCM_16, ScriptedTranscriber, make_session, session_update, silence, speech


class Pipe:
    """A socket whose client is a test.

    Attributes:
        told: events that the client has read.
        reads: unset while it does not read.
    """

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.is_gone = False
        self._messages: asyncio.Queue[str | bytes | None] = asyncio.Queue()

    def say(self, *messages: dict[str, Any] | bytes | None) -> None:
        """Send messages; None closes the socket."""
        for message in messages:
            self._messages.put_nowait(json.dumps(message) if isinstance(message, dict) else message)

    async def receive(self) -> str | bytes | None:
        return await self._messages.get()

    async def send(self, text: str) -> None:
        await self.reads.wait()
        if self.is_gone:
            raise ConnectionResetError
        self.told.append(json.loads(text))

    @property
    def codes(self) -> list[str]:
        return [event["error"]["code"] for event in self.told if event["type"] == "error"]

    def has(self, kind: str) -> bool:
        return any(event["type"].endswith(kind) for event in self.told)


class Ended:
    """How a connection ended."""

    def __init__(self, pipe: Pipe, transcriber: ScriptedTranscriber, reason: AmanuensisError | None, at: float) -> None:
        self.pipe = pipe
        self.transcriber = transcriber
        self.code = None if reason is None else reason.code
        self.after_s = at


def run(
    scenario: Callable[[Pipe, asyncio.Event], Awaitable[None]],
    limits: SessionLimits = LIMITS,
    transcriber: ScriptedTranscriber | None = None,
) -> Ended:
    async def whole() -> Ended:
        loop, pipe, outbox, stopping = asyncio.get_running_loop(), Pipe(), Outbox(), asyncio.Event()
        scripted = transcriber or ScriptedTranscriber()
        connection = Connection(pipe, make_session(scripted, outbox, limits), outbox, limits, stopping)
        began = loop.time()
        acting = asyncio.ensure_future(scenario(pipe, stopping))
        reason = await connection.run()
        ended = Ended(pipe, scripted, reason, loop.time() - began)
        await acting
        assert scripted.running == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return ended

    return virtual_time.run(whole())


START = (session_update(format=PCM_16), speech(1.5))


def test_a_client_that_goes_away_ends_its_session() -> None:
    async def scenario(pipe: Pipe, _: asyncio.Event) -> None:
        pipe.say(*START)
        await asyncio.sleep(5)
        pipe.say(None)

    ended = run(scenario)
    assert (ended.code, ended.pipe.codes) == (None, [])


def test_a_client_that_can_be_sent_nothing_is_gone() -> None:
    async def scenario(pipe: Pipe, _: asyncio.Event) -> None:
        pipe.is_gone = True

    assert run(scenario).code is None


def test_a_client_that_sends_nothing_is_told_and_left() -> None:
    async def scenario(pipe: Pipe, _: asyncio.Event) -> None:
        await asyncio.sleep(200)
        pipe.say(silence(0.1))

    ended = run(scenario)
    assert (ended.code, ended.pipe.codes) == ("session_idle", ["session_idle"])
    assert ended.after_s == pytest.approx(500)


def test_a_session_ends_with_its_last_words_when_its_time_is_over() -> None:
    async def scenario(pipe: Pipe, _: asyncio.Event) -> None:
        await asyncio.sleep(9)
        pipe.say(*START)

    ended = run(scenario, SessionLimits(60, 120, session_s=10, idle_s=300))
    assert ended.code == "session_expired"
    assert ended.pipe.codes == ["session_expired"]
    assert ended.pipe.told[-1]["type"].endswith("completed")


def test_a_service_that_stops_tells_the_last_words_of_its_sessions() -> None:
    async def scenario(pipe: Pipe, stopping: asyncio.Event) -> None:
        pipe.say(*START)
        await asyncio.sleep(1)
        stopping.set()

    ended = run(scenario)
    assert (ended.code, ended.pipe.codes) == ("draining", ["draining"])
    assert ended.pipe.told[-1]["type"].endswith("completed")


def test_last_words_that_take_too_long_are_not_awaited() -> None:
    transcriber = ScriptedTranscriber()
    transcriber.before = lambda: asyncio.sleep(1000)

    async def scenario(pipe: Pipe, stopping: asyncio.Event) -> None:
        pipe.say(*START)
        await asyncio.sleep(1)
        stopping.set()

    ended = run(scenario, transcriber=transcriber)
    assert ended.after_s < 20
    assert not ended.pipe.has("completed")


def test_a_flood_of_audio_ends_the_session_and_is_told() -> None:
    async def scenario(pipe: Pipe, _: asyncio.Event) -> None:
        pipe.say(*[speech(30)] * 10)

    ended = run(scenario)
    assert (ended.code, ended.pipe.codes) == ("audio_too_fast", ["audio_too_fast"])


def test_a_client_that_does_not_read_is_left() -> None:
    async def scenario(pipe: Pipe, _: asyncio.Event) -> None:
        pipe.reads.clear()
        for number in range(300):
            pipe.say({"type": "nonsense", "number": number})
            await asyncio.sleep(0.01)

    ended = run(scenario)
    assert ended.code == "reads_too_slowly"
    assert ended.after_s < 10


def test_a_session_that_fails_in_an_unforeseen_way_says_so(caplog: pytest.LogCaptureFixture) -> None:
    transcriber = ScriptedTranscriber()
    transcriber.rejects = RuntimeError("secret")  # type: ignore[assignment]  # what nobody foresaw

    async def scenario(pipe: Pipe, _: asyncio.Event) -> None:
        pipe.say(*START)

    ended = run(scenario, transcriber=transcriber)
    assert ended.pipe.codes == ["internal_error"]
    assert "secret" not in json.dumps(ended.pipe.told)
    assert "secret" in caplog.text
