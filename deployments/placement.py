"""Where the graph's actors run, and how many: decided when the graph is built, from the nodes that Ray has then."""

from __future__ import annotations

from typing import Any, Literal

import ray
from ray.serve.config import AutoscalingConfig

from deployments.shared.errors import ConfigurationError
from deployments.shared.settings import Settings

ENCODER_RESOURCE = "npu"
SHARED_CORES = {"num_cpus": 0}
"""All stages share the cores: admission bounds the work, so replicas reserve none."""

NODE_SHARE = 0.001
"""Of the resource that each node offers by its address: enough to be bound to the node, and to leave room for all."""

HEAD = "node:__internal_head__"
"""Every head offers it."""

METRICS_INTERVAL_S = 0.5
"""Serve's default of 10 s would alone make the reaction last 10 s.

Serve 2.60 calls this setting deprecated, but does not read the environment variables that are to replace it.
"""

LOOK_BACK_S = 3.0
"""Calls under way are averaged over it: longer than a batch, so that one batch more or less changes nothing."""

UPSCALE_DELAY_S = 2.0
DOWNSCALE_DELAY_S = 30.0
"""Far longer than the other way: a replica too many costs memory, one too few makes requests wait for its start."""

Handoff = Literal["shared_memory", "object_store"]


class Placement:
    """How arrays travel, and the actor options that follow from it.

    Attributes:
        settings: the service's, with the hand-over that ``auto`` stands for on these nodes.
    """

    def __init__(self, settings: Settings, nodes: list[dict[str, Any]]) -> None:
        """
        Args:
            settings: of the service.
            nodes: as ``ray.nodes()`` gives them.

        Raises:
            ConfigurationError: the nodes lack the encoder's resource; Serve would wait for it for ever.
        """
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        needed = settings.encoder_replicas
        _check_encoders(sum(resources.get(ENCODER_RESOURCE, 0) for resources in alive), needed)
        handoff = _handoff(settings, alive)
        self.settings = settings.model_copy(update={"handoff": handoff})
        self._node: dict[str, float] = {}
        if handoff == "shared_memory":
            # A node that joins later cannot see the slab: nothing may be started there.
            self._node = {_node_with_encoders(alive, needed): NODE_SHARE}

    @classmethod
    def here(cls, settings: Settings) -> Placement:
        """In the cluster that this process belongs to."""
        return cls(settings, ray.nodes())

    @property
    def cpu_stage(self) -> dict[str, Any]:
        """Of the stages that need no device."""
        return {**SHARED_CORES, "resources": self._node}

    @property
    def ingress(self) -> dict[str, Any]:
        """Of the ingress: among several nodes it is on the head, so that the death of another one does not end it."""
        return {**SHARED_CORES, "resources": self._node or {HEAD: NODE_SHARE}}

    @property
    def encoder(self) -> dict[str, Any]:
        """Of the encoder: one device each."""
        return {**SHARED_CORES, "resources": {**self._node, ENCODER_RESOURCE: 1}}


def _handoff(settings: Settings, alive: list[dict[str, float]]) -> Handoff:
    if settings.handoff == "auto":
        return "shared_memory" if len(alive) == 1 else "object_store"
    return settings.handoff


def _node_with_encoders(alive: list[dict[str, float]], needed: int) -> str:
    """The resource that stands for the node."""
    for resources in alive:
        if resources.get(ENCODER_RESOURCE, 0) >= needed:
            return next(name for name in resources if name.startswith("node:") and not name.startswith("node:__"))
    raise ConfigurationError(
        f"handoff is shared_memory, but no node has the resource {ENCODER_RESOURCE!r} for all {needed} encoders; "
        "set it to object_store (or auto)"
    )


def _check_encoders(offered: float, needed: int) -> None:
    if offered >= needed:
        return
    raise ConfigurationError(
        f"Ray's nodes offer {offered:g} of the resource {ENCODER_RESOURCE!r}, but encoder_replicas is {needed} and "
        "every encoder is pinned to one. Start Ray with it: "
        f"`ray start --head --resources '{{\"{ENCODER_RESOURCE}\": {needed}}}'`, or start both at once: "
        f"`RAY_OVERRIDE_RESOURCES='{{\"{ENCODER_RESOURCE}\": {needed}}}' serve run serve_config.yaml`"
    )


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
