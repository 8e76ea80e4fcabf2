"""Counts the replicas of each stage every few seconds, so that what is shown stays true when the service grows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from deployments.ingress.periodic import repeat
from deployments.shared.contracts import StageName

PERIOD_S = 5.0
"""Seconds between two counts. Each asks every replica, which costs some milliseconds of CPU."""


class ReplicaWatch:
    """Knows how many replicas of each stage answered when they were last asked.

    Args:
        count: asks the replicas; leaves a stage out that cannot be counted now.
    """

    def __init__(self, count: Callable[[], Awaitable[Mapping[StageName, int]]]) -> None:
        self._count = count
        self._answering: dict[StageName, int] = {}

    def answering(self, stage: StageName) -> int:
        """Return the stage's number of replicas; 0 until they were counted."""
        return self._answering.get(stage, 0)

    async def run(self) -> None:
        """Count until cancelled."""
        await repeat(self._ask, PERIOD_S, "The count of replicas")

    async def _ask(self) -> None:
        self._answering |= await self._count()
