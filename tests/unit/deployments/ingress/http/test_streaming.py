"""A stream whose client goes away, at whatever moment, ends its request at once and leaves nothing behind."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.types import Message

from deployments.ingress.http.routes import create_app
from tests.support.asgi import END, FORM, STREAM, scope_of
from tests.support.http_service import service
from tests.support.scripted_stages import ScriptedStages


async def cut_off() -> None:
    """Fail as a socket does whose other end is gone."""
    raise OSError("the client is gone")


async def hang_up() -> None:
    """End as Serve ends a request whose client is gone."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@pytest.mark.parametrize("end", [cut_off, hang_up])
@pytest.mark.parametrize("sent_before", [0, 1, 2], ids=["before its head", "before its first event", "after it"])
def test_a_client_that_is_gone_ends_its_request_at_once(
    tmp_path: Path, sent_before: int, end: Callable[[], object], spec_version: str
) -> None:
    async def scenario() -> None:
        asked = service(ScriptedStages(3), tmp_path)
        app = create_app(asked)
        body = iter([{"type": "http.request", "body": FORM + STREAM + END, "more_body": False}])
        sent: list[Message] = []

        async def receive() -> Message:
            for message in body:
                return message
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        async def send(message: Message) -> None:
            if len(sent) == sent_before:
                await end()  # type: ignore[misc]
            sent.append(message)

        scope = {**scope_of(), "asgi": {"spec_version": spec_version}}
        await asyncio.gather(app(scope, receive, send), return_exceptions=True)
        assert len(sent) == sent_before
        assert asked.statistics.failures == {"client_closed_request": 1}
        assert asked.statistics.pending_responses == 0
        assert asked.admission.in_use == 0

    asyncio.run(asyncio.wait_for(scenario(), 10))
