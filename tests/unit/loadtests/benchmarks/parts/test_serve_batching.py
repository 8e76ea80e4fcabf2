"""Serve's batches do the same work as the Decoder's own: every step, shared by items of one kind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from deployments.decoder.batcher import UNFINISHED, Outcome
from loadtests.benchmarks.parts.serve_batching import ServeBatcher, take_all_steps


@dataclass
class Countdown:
    """An item that takes some steps; its kind is how many are left."""

    name: str
    kind: int
    priority: int = 1
    asked: float = 0.0


class Steps:
    """Work that notes which items were together; a name in capitals fails."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, items: Sequence[Countdown]) -> list[Outcome[str]]:
        self.calls.append("".join(item.name for item in items))
        assert len({item.kind for item in items}) == 1
        return [self._step(item) for item in items]

    def _step(self, item: Countdown) -> Outcome[str]:
        item.kind -= 1
        if item.name.isupper():
            return ValueError(item.name)
        return UNFINISHED if item.kind else f"done {item.name}"


def test_every_item_takes_all_its_steps_with_those_of_its_kind() -> None:
    work = Steps()
    items = [Countdown("a", 2), Countdown("b", 1), Countdown("c", 2)]
    assert take_all_steps(work, items) == ["done a", "done b", "done c"]
    assert work.calls == ["ac", "b", "ac"]


@pytest.fixture
def _in_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Serve find what it asks a replica for when the first batch begins."""
    context = SimpleNamespace(_deployment_config=SimpleNamespace(max_ongoing_requests=100))
    monkeypatch.setattr("ray.serve.get_replica_context", lambda: context)


@pytest.mark.usefixtures("_in_a_replica")
def test_serve_makes_the_batches_and_an_item_that_fails_fails_alone() -> None:
    work = Steps()

    async def call() -> list[str | BaseException]:
        batcher: ServeBatcher[Countdown, str] = ServeBatcher(work, 2, ThreadPoolExecutor(1), 10.0)
        items = [Countdown("a", 1), Countdown("B", 1), Countdown("c", 1), Countdown("d", 1)]
        return await asyncio.gather(*(batcher(item) for item in items), return_exceptions=True)

    a, b, c, d = asyncio.run(call())
    assert (a, c, d) == ("done a", "done c", "done d")
    assert isinstance(b, ValueError)
    assert work.calls == ["aB", "cd"], "two are a full batch, which does not wait"
