"""Replicas are counted by their answers."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import DeploymentUnavailableError

from deployments.ingress.scheduling.handles import ServeStages
from deployments.ingress.scheduling.replica_count import ANSWER_S, count_replicas
from deployments.shared.contracts import StageProgress

PROGRESS = StageProgress(0.0, 10.0)
DIED = ActorUnavailableError("gone", b"1" * 16)
UNAVAILABLE = DeploymentUnavailableError(DeploymentID(name="Decoder"))


class Deployment:
    """The handle of a deployment whose replicas answer so, or that cannot be asked at all."""

    def __init__(self, answers: Sequence[object] | BaseException) -> None:
        self._answers = answers

    def options(self, **_: object) -> "Deployment":
        return self

    def broadcast(self, method: str) -> "Deployment":
        assert method == "progress"
        return self

    async def results_async(self, *, timeout_s: float, return_exceptions: bool) -> Sequence[object]:
        assert timeout_s == ANSWER_S
        assert return_exceptions
        if isinstance(self._answers, BaseException):
            raise self._answers
        return self._answers


@pytest.mark.parametrize(
    ("deployments", "count"),
    [
        ([[PROGRESS]], 1),
        ([[PROGRESS, PROGRESS, PROGRESS]], 3),
        ([[PROGRESS, DIED]], 1),
        ([UNAVAILABLE], 0),
        ([TimeoutError()], None),
        ([DIED], None),
        ([asyncio.CancelledError()], None),
        ([[PROGRESS], [PROGRESS]], 2),
        ([[PROGRESS], UNAVAILABLE], 1),
        ([[PROGRESS], TimeoutError()], None),
    ],
    ids=[
        "one",
        "three",
        "died",
        "none",
        "hangs",
        "lost",
        "channel closed",
        "two encoders",
        "one of two",
        "one of two hangs",
    ],
)
def test_those_that_answer_are_counted(deployments: list[Sequence[object] | BaseException], count: int | None) -> None:
    handles: Any = [Deployment(answers) for answers in deployments]
    assert asyncio.run(count_replicas(handles)) == count


def test_each_stage_has_its_own_number_and_is_left_out_where_there_is_none() -> None:
    one, two, hangs = Deployment([PROGRESS]), Deployment([PROGRESS] * 2), Deployment(TimeoutError())
    handles: list[Any] = [two, [one, one, one], hangs, None]
    stages = ServeStages(*handles, by_reference=False)
    assert asyncio.run(stages.replicas()) == {"mel": 2, "encoder": 3}
