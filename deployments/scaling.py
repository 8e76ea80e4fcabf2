"""How many replicas a CPU stage has: a fixed number, or as many as its calls need, between two bounds."""

from __future__ import annotations

from typing import Any

from ray.serve.config import AutoscalingConfig

METRICS_INTERVAL_S = 0.5
"""Serve's default of 10 s would alone make the reaction last 10 s.

Serve 2.60 calls this setting deprecated, but does not read the environment variables that are to replace it.
"""

LOOK_BACK_S = 3.0
"""Calls under way are averaged over it: longer than a batch, so that one batch more or less changes nothing."""

UPSCALE_DELAY_S = 2.0
DOWNSCALE_DELAY_S = 30.0
"""Far longer than the other way: a replica too many costs memory, one too few makes requests wait for its start."""


def replicas(fewest: int, most: int | None, *, at_once: int, drain_s: float) -> dict[str, Any]:
    """The options of a stage's deployment.

    Args:
        fewest: replicas at rest.
        most: under load; None: always ``fewest``.
        at_once: calls one replica works on at a time; where more are under way, they wait, and a replica is added.
        drain_s: a replica that has to go finishes its calls first, for so long at most.
    """
    draining = {"graceful_shutdown_timeout_s": drain_s}
    if most is None or most == fewest:
        return {"num_replicas": fewest, **draining}
    scaling = AutoscalingConfig(
        min_replicas=fewest,
        max_replicas=most,
        target_ongoing_requests=at_once,
        metrics_interval_s=METRICS_INTERVAL_S,
        look_back_period_s=LOOK_BACK_S,
        upscale_delay_s=UPSCALE_DELAY_S,
        downscale_delay_s=DOWNSCALE_DELAY_S,
    )
    return {"autoscaling_config": scaling, **draining}
