"""How many replicas a stage has now, also when Serve has added some, or one has died.

Every replica is asked, through Serve's public way to reach them all. Serve's own report, ``serve.status()``, describes
the whole cluster each time, and takes some 40 ms of CPU: ten times as much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from deployments.ingress.cancellation import is_cancelled
from deployments.ingress.scheduling.serve_call import TRANSPORT_ERRORS

ANSWER_S = 2.0
"""Seconds that the replicas have to answer."""


async def count_replicas(deployments: Sequence[DeploymentHandle]) -> int | None:
    """Return how many replicas of a stage answer, which may have several deployments.

    None if one does not answer in time and is not known to have died either: Serve names no other way to tell how many
    answered.
    """
    counts = await asyncio.gather(*map(_count, deployments))
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


async def _count(deployment: DeploymentHandle) -> int | None:
    try:
        asked = deployment.broadcast("progress")
        answers = await asked.results_async(timeout_s=ANSWER_S, return_exceptions=True)
    except DeploymentUnavailableError:
        return 0
    except (TimeoutError, *TRANSPORT_ERRORS):
        if is_cancelled():
            raise
        return None
    return sum(not isinstance(answer, BaseException) for answer in answers)
