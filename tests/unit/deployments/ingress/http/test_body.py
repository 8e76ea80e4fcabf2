"""How slowly a body may come: as long as it goes on, until the request's own deadline."""

import asyncio
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.types import Message

from deployments.ingress.http.body import BoundedBody, UploadPace
from deployments.ingress.http.routes import create_app
from deployments.shared.errors import DeadlineExceededError, UploadTimeoutError
from tests.support import virtual_time
from tests.support.asgi import END, FORM, scope_of
from tests.support.http_service import service
from tests.support.scripted_stages import ScriptedStages

PACE = UploadPace(seconds=30.0, least_bytes=300)
CHUNKED = Headers({"transfer-encoding": "chunked"})
FOREVER = 10**6


def body_of(pieces: Iterable[tuple[float, int]], pace: UploadPace = PACE) -> BoundedBody:
    """A body whose pieces come after seconds, each of so many bytes; the one of no bytes ends it."""
    coming = iter(pieces)

    async def receive() -> Message:
        for seconds, size in coming:
            if seconds:
                await asyncio.sleep(seconds)
            return {"type": "http.request", "body": bytes(size), "more_body": size > 0}
        await asyncio.sleep(FOREVER)
        raise AssertionError("unreachable")

    return BoundedBody(receive, CHUNKED, 2**20, pace)


async def read(body: BoundedBody) -> float:
    """Read all of it; return the seconds that took."""
    began = asyncio.get_running_loop().time()
    while not body.complete:
        await body.receive()
    return asyncio.get_running_loop().time() - began


def run(scenario: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(scenario)


def test_a_slow_upload_is_let_on_as_long_as_it_goes_on() -> None:
    async def scenario() -> None:
        assert await read(body_of([(1.0, 11)] * 600 + [(0.0, 0)])) == pytest.approx(600)
        assert await read(body_of([(29.0, 300)] * 20 + [(0.0, 0)])) == pytest.approx(580)

    run(scenario())


@pytest.mark.parametrize(
    ("pieces", "ends_after_s"),
    [
        ([], 30.0),
        ([(1.0, 5000)], 31.0),
        ([(1.0, 9)] * 100, 30.0),
        ([(1.0, 11)] * 300 + [(1.0, 1)] * 100, 310.0),
    ],
    ids=["nothing", "stalls", "trickles", "comes to trickle"],
)
def test_an_upload_that_stalls_or_trickles_is_ended(pieces: list[tuple[float, int]], ends_after_s: float) -> None:
    async def scenario() -> None:
        began = asyncio.get_running_loop().time()
        with pytest.raises(UploadTimeoutError, match="too slow"):
            await read(body_of(pieces))
        assert asyncio.get_running_loop().time() - began == pytest.approx(ends_after_s, abs=2)

    run(scenario())


def test_a_short_body_may_take_the_whole_of_the_first_period() -> None:
    async def scenario() -> None:
        assert await read(body_of([(25.0, 1), (4.0, 0)])) == pytest.approx(29)

    run(scenario())


def test_without_a_least_pace_any_byte_will_do() -> None:
    async def scenario() -> None:
        assert await read(body_of([(29.0, 1)] * 10 + [(0.0, 0)], UploadPace(30.0, 0))) == pytest.approx(290)
        with pytest.raises(UploadTimeoutError):
            await read(body_of([(29.0, 1), (31.0, 1)], UploadPace(30.0, 0)))

    run(scenario())


def test_no_upload_goes_on_beyond_the_deadline_of_its_request() -> None:
    async def scenario() -> None:
        body = body_of([(1.0, 1000)] * 100)
        body.finish_by(time.monotonic() + 50.0)
        began = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceededError, match="the upload was complete"):
            await read(body)
        assert asyncio.get_running_loop().time() - began == pytest.approx(50, abs=0.1)

    run(scenario())


def test_what_has_come_already_needs_no_time() -> None:
    async def scenario() -> None:
        body = body_of([(0.0, 0)])
        body.finish_by(time.monotonic() - 1.0)
        assert await read(body) == pytest.approx(0, abs=0.1)

    run(scenario())


@pytest.mark.parametrize(("named", "expected"), [({}, 200), ({"x-timeout-seconds": "0.3"}, 504)])
def test_an_upload_takes_nothing_from_a_request_that_names_no_timeout(
    tmp_path: Path, named: dict[str, str], expected: int
) -> None:
    async def scenario() -> None:
        app = create_app(service(ScriptedStages(), tmp_path, request_timeout_s=0.3, timeout_per_audio_s=0.1))
        pieces = iter([(0.0, FORM), (0.5, END)])
        sent: list[Message] = []

        async def receive() -> Message:
            for seconds, piece in pieces:
                await asyncio.sleep(seconds)
                return {"type": "http.request", "body": piece, "more_body": piece != END}
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        async def send(message: Message) -> None:
            sent.append(message)

        await app(scope_of(**named), receive, send)
        assert sent[0]["status"] == expected

    asyncio.run(asyncio.wait_for(scenario(), 10))
