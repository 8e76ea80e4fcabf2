"""What is known of the encoder is its latest answer, whatever a probe raises."""

import asyncio
from collections.abc import Callable

import pytest

from deployments.ingress import encoder_watch
from deployments.ingress.encoder_watch import EncoderWatch
from deployments.shared.contracts import EncoderHealth
from deployments.shared.errors import StageLostError

WELL = EncoderHealth("npu:test", "healthy")


def watch_until_answers_end(
    monkeypatch: pytest.MonkeyPatch,
    answers: list[EncoderHealth | BaseException],
    on_answer: Callable[[EncoderHealth], None] = lambda _: None,
) -> tuple[EncoderWatch, int]:
    """Return a watch that was given all answers, and how often it said that the encoder is well again."""
    monkeypatch.setattr(encoder_watch, "PROBE_PERIOD_S", 0.0)
    recoveries = 0

    async def scenario() -> EncoderWatch:
        given, left = asyncio.Event(), list(answers)

        async def probe() -> EncoderHealth:
            if not left:
                given.set()
                await asyncio.Event().wait()
            answer = left.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        def recovered() -> None:
            nonlocal recoveries
            recoveries += 1

        watch = EncoderWatch(probe)
        run = asyncio.create_task(watch.run(on_answer, recovered))
        waiting = asyncio.create_task(given.wait())
        await asyncio.wait((run, waiting), return_when=asyncio.FIRST_COMPLETED)
        assert not run.done(), "the probe has ended"
        known = EncoderWatch(probe)
        known.health = watch.health
        run.cancel()
        await asyncio.wait((run,))
        return known

    return asyncio.run(scenario()), recoveries


@pytest.mark.parametrize(
    "raised",
    [StageLostError("gone"), ZeroDivisionError("unforeseen"), asyncio.CancelledError()],
    ids=["foreseen", "unforeseen", "channel closed"],
)
def test_an_encoder_that_does_not_answer_is_not_taken_for_well_and_the_next_probe_comes(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    assert not watch_until_answers_end(monkeypatch, [WELL, raised])[0].works
    watch, recoveries = watch_until_answers_end(monkeypatch, [WELL, raised, raised, WELL])
    assert watch.works
    assert recoveries == 2


def test_what_goes_wrong_with_an_answer_hides_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: EncoderHealth) -> None:
        raise ZeroDivisionError("unforeseen")

    watch, recoveries = watch_until_answers_end(monkeypatch, [StageLostError("gone"), WELL, WELL], fails)
    assert watch.works
    assert recoveries == 1
