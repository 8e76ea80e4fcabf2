"""What is done again and again survives whatever happens to it, except its own end."""

import asyncio

import pytest

from deployments.ingress.periodic import repeat


@pytest.mark.parametrize("fault", [ZeroDivisionError("a"), asyncio.CancelledError()], ids=["fault", "channel closed"])
def test_a_fault_is_followed_by_the_next_turn_and_logged_once(
    fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        turns += 1
        if turns < 3:
            raise fault

    async def scenario() -> None:
        run = asyncio.create_task(repeat(turn, 0.0, "The count"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not run.done()
        run.cancel()
        await asyncio.wait((run,))
        assert run.cancelled()

    asyncio.run(scenario())
    assert turns > 3
    assert [record.getMessage() for record in caplog.records] == [
        "The count failed in an unforeseen way and is tried again; this is logged once"
    ]
