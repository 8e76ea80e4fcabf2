"""The number of replicas follows what the stages say, whatever happens to a count."""

import asyncio

import pytest

from deployments.ingress import replica_watch
from deployments.ingress.replica_watch import ReplicaWatch
from deployments.shared.contracts import StageName

STAGES: tuple[StageName, ...] = ("mel", "encoder", "decoder")


class Stages:
    """Answers with one count after another, the last one for good; raises those that are errors."""

    def __init__(self, *counts: dict[StageName, int] | Exception) -> None:
        self._counts = list(counts)

    async def replicas(self) -> dict[StageName, int]:
        count = self._counts.pop(0) if len(self._counts) > 1 else self._counts[0]
        if isinstance(count, Exception):
            raise count
        return count


def watched(monkeypatch: pytest.MonkeyPatch, *counts: dict[StageName, int] | Exception) -> list[int]:
    """What is known after all counts."""
    monkeypatch.setattr(replica_watch, "PERIOD_S", 0.0)
    watch = ReplicaWatch(Stages(*counts).replicas)

    async def scenario() -> None:
        run = asyncio.create_task(watch.run())
        for _ in range(10 * len(counts)):
            await asyncio.sleep(0)
        run.cancel()

    asyncio.run(scenario())
    return [watch.answering(stage) for stage in STAGES]


def test_it_follows_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ReplicaWatch(Stages().replicas).answering("mel") == 0
    grown: dict[StageName, int] = {"mel": 2, "encoder": 1, "decoder": 3}
    assert watched(monkeypatch, {"mel": 1, "encoder": 1, "decoder": 1}, grown) == [2, 1, 3]
    assert watched(monkeypatch, grown, {"mel": 0, "encoder": 1, "decoder": 1}) == [0, 1, 1]


def test_a_stage_that_cannot_be_counted_keeps_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(monkeypatch, {"mel": 2, "encoder": 1, "decoder": 3}, {"mel": 1, "encoder": 1}) == [1, 1, 3]


def test_a_count_that_fails_is_followed_by_the_next_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counts: dict[StageName, int] = {"mel": 1, "encoder": 1, "decoder": 1}
    assert watched(monkeypatch, ZeroDivisionError("a"), ZeroDivisionError("b"), counts) == [1, 1, 1]
    assert len(caplog.records) == 1
