"""Two hundred live sessions that end in every way there is, in random order: nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import websockets

from deployments.ingress.http.routes import create_app
from deployments.shared.contracts import ArrayRef, EncodedWindow, Ticket
from deployments.shared.errors import StageLostError
from tests.support.http_service import service, wait_until
from tests.support.listening import listening
from tests.support.live import COMMIT, MANUAL, VAD, LoudVoice, silence, speech
from tests.support.scripted_stages import ScriptedStages

SESSIONS = 200
AT_ONCE = 40

Socket: TypeAlias = websockets.ClientConnection


class FlakyStages(ScriptedStages):
    """Each window takes a moment, and every seventh call of the encoder is lost for good."""

    calls = 0

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        self.calls += 1
        if self.calls % 7 == 0:
            raise StageLostError("gone")
        return await super().encode(ticket, log_mel)


async def say(socket: Socket, *messages: dict[str, Any] | bytes) -> None:
    for message in messages:
        await socket.send(json.dumps(message) if isinstance(message, dict) else message)


async def until_end_of_item(socket: Socket) -> str:
    with suppress(websockets.ConnectionClosed):
        while True:
            kind = str(json.loads(await socket.recv())["type"])
            if kind.endswith((".completed", ".failed")):
                return kind.rpartition(".")[2]
    return "closed"


async def listens(socket: Socket) -> str:
    await say(socket, VAD, *[speech(0.4)] * 5, silence(1))
    return await until_end_of_item(socket)


async def commits(socket: Socket) -> str:
    await say(socket, MANUAL, speech(1), COMMIT)
    return await until_end_of_item(socket)


async def breaks_off(socket: Socket) -> str:
    await say(socket, VAD, *[speech(0.4)] * 5)
    return "left"


async def is_killed(socket: Socket) -> str:
    await say(socket, MANUAL, speech(1), COMMIT, speech(0.5))
    socket.transport.abort()
    return "left"


async def floods(socket: Socket) -> str:
    await say(socket, *[silence(40)] * 3)
    return await until_end_of_item(socket)


async def talks_nonsense(socket: Socket) -> str:
    await say(socket, {"type": "nonsense"}, {"session": 1}, b"\x00", COMMIT)
    await socket.recv()
    return "left"


WAYS: list[Callable[[Socket], Awaitable[str]]] = [listens, commits, breaks_off, is_killed, floods, talks_nonsense]


async def crowd(url: str) -> Counter[tuple[str, str]]:
    chance, turns, ended = random.Random(0), asyncio.Semaphore(AT_ONCE), Counter[tuple[str, str]]()
    ways = [*WAYS] * (SESSIONS // len(WAYS) + 1)
    chance.shuffle(ways)

    async def one(way: Callable[[Socket], Awaitable[str]]) -> None:
        async with turns:
            await asyncio.sleep(chance.uniform(0, 0.05))
            async with asyncio.timeout(60), websockets.connect(url, max_size=None) as socket:
                ended[way.__name__, await way(socket)] += 1

    await asyncio.gather(*map(one, ways[:SESSIONS]))
    return ended


def test_a_crowd_of_sessions_leaves_nothing_behind(tmp_path: Path) -> None:
    async def moment(_: int) -> None:
        await asyncio.sleep(0.01)

    asked = service(FlakyStages(1, moment, texts=["Hello."]), tmp_path, max_live_sessions=SESSIONS, max_live_ahead_s=60)
    asked.live.voice = LoudVoice()
    with listening(create_app(asked), sockets=True) as url:
        ended = asyncio.run(crowd(f"{url.replace('http', 'ws')}/v1/realtime"))
        wait_until(lambda: not asked.statistics.live.sessions)
        wait_until(lambda: not asked.statistics.pending_responses and not asked.admission.in_use)
        assert not asked.admission.waiting
        kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
        assert kept == {"slab", "lock"}, "no upload"
    assert sum(ended.values()) == SESSIONS
    assert ended["listens", "completed"] > 20
    assert ended["commits", "completed"] > 20
    assert ended["floods", "closed"] > 30
    assert {way for way, how in ended if how == "failed"} <= {"listens", "commits"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing after the end of the service"
