"""Where the graph's actors run, and how many: decided once, when the graph is built, from the nodes that Ray has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import ray
from ray.serve.config import AutoscalingConfig

from deployments.shared.errors import ConfigurationError
from deployments.shared.memory.fitting import with_slots_that_fit
from deployments.shared.resources import ENCODER_RESOURCE
from deployments.shared.settings import Settings

if TYPE_CHECKING:
    from npu_encoder.weights import EncoderDimensions

SHARED_CORES = {"num_cpus": 0}
"""All stages share the cores: admission bounds the work, so replicas reserve none."""

NODE_SHARE = 0.001
"""Share that an actor takes of the resource named after a node's address: it binds the actor to the node, and leaves
room for all."""

HEAD = "node:__internal_head__"
"""Resource that the head of every cluster offers."""

METRICS_INTERVAL_S = 0.5
"""How often replicas report their calls: Serve's default of 10 s would alone delay the reaction by 10 s.

Serve 2.60 calls this setting deprecated, but does not read the environment variables that are to replace it.
"""

LOOK_BACK_S = 3.0
"""Calls under way are averaged over this time: longer than a batch, so that one batch more or less changes nothing."""

UPSCALE_DELAY_S = 2.0
DOWNSCALE_DELAY_S = 30.0
"""Far longer than ``UPSCALE_DELAY_S``: a replica too many costs memory, one too few makes requests wait for a start."""

IDLE_DELAY_S = 600.0
"""Seconds without a call after which the last replica of what runs on demand goes: its start takes some seconds."""

HandoffKind = Literal["shared_memory", "object_store"]


class Placement:
    """How arrays travel between the stages, and the actor options that follow from it.

    Attributes:
        settings: the service's settings; ``handoff`` is never ``auto``, but what it means on these nodes, and ``slots``
            are those that fit once ``fit_slots`` was called.
    """

    def __init__(self, settings: Settings, nodes: list[dict[str, Any]]) -> None:
        """Place the graph on nodes.

        Args:
            settings: the service's settings.
            nodes: what ``ray.nodes()`` returns.

        Raises:
            ConfigurationError: the nodes lack the encoder's resource; Serve would wait for it without end.
        """
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        needed = settings.encoder_replicas
        _check_encoders(sum(resources.get(ENCODER_RESOURCE, 0) for resources in alive), needed)
        handoff = _handoff_kind(settings, alive)
        self.settings = settings.model_copy(update={"handoff": handoff})
        self._node: dict[str, float] = {}
        if handoff == "shared_memory":
            # A node that joins later cannot see the slab: nothing may be started there.
            self._node = {_node_with_encoders(alive, needed): NODE_SHARE}

    @classmethod
    def here(cls, settings: Settings) -> Placement:
        """Place the graph in the cluster that this process belongs to."""
        return cls(settings, ray.nodes())

    def fit_slots(self, dimensions: EncoderDimensions) -> None:
        """Lower the default number of slots where the shared memory of this machine is too small for it."""
        if self.settings.handoff == "shared_memory":
            self.settings = with_slots_that_fit(self.settings, dimensions)

    @property
    def cpu_stage(self) -> dict[str, Any]:
        """Actor options of the stages that need no device."""
        return {**SHARED_CORES, "resources": self._node}

    @property
    def ingress(self) -> dict[str, Any]:
        """Actor options of the ingress.

        Among several nodes it runs on the head, so that the death of another node does not end it.
        """
        return {**SHARED_CORES, "resources": self._node or {HEAD: NODE_SHARE}}

    @property
    def encoder(self) -> dict[str, Any]:
        """Actor options of an encoder: one device each."""
        return {**SHARED_CORES, "resources": {**self._node, ENCODER_RESOURCE: 1}}


def _handoff_kind(settings: Settings, alive: list[dict[str, float]]) -> HandoffKind:
    if settings.handoff == "auto":
        return "shared_memory" if len(alive) == 1 else "object_store"
    return settings.handoff


def _node_with_encoders(alive: list[dict[str, float]], needed: int) -> str:
    """Return the resource named after the address of a node that has all encoders' devices."""
    for resources in alive:
        if resources.get(ENCODER_RESOURCE, 0) >= needed:
            return next(name for name in resources if name.startswith("node:") and not name.startswith("node:__"))
    raise ConfigurationError(
        f"The setting handoff is shared_memory, but no node has the resource {ENCODER_RESOURCE!r} for all {needed} "
        "encoders; set it to object_store (or auto)"
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


def replicas(fewest: int, most: int, *, at_once: int, drain_s: float) -> dict[str, Any]:
    """Return the options of a stage's deployment that say how many replicas it has.

    Args:
        fewest: replicas at rest.
        most: replicas under load; 0 keeps ``fewest``.
        at_once: calls that one replica works on at a time; where more are under way, they wait, and a replica is added.
        drain_s: seconds that a replica that has to go may take to finish its calls.
    """
    draining = {"graceful_shutdown_timeout_s": drain_s}
    if most <= fewest:
        return {"num_replicas": fewest, **draining}
    return {"autoscaling_config": _scaling(fewest, most, at_once, DOWNSCALE_DELAY_S), **draining}


def replicas_on_demand(most: int, *, at_once: int, drain_s: float) -> dict[str, Any]:
    """Return the options of a deployment that has no replica at rest.

    Args:
        most: replicas under load.
        at_once: calls that one replica works on at a time.
        drain_s: seconds that a replica that has to go may take to finish its calls.
    """
    scaling = _scaling(0, most, at_once, IDLE_DELAY_S)
    return {"autoscaling_config": scaling, "graceful_shutdown_timeout_s": drain_s}


def _scaling(fewest: int, most: int, at_once: int, downscale_delay_s: float) -> AutoscalingConfig:
    return AutoscalingConfig(
        min_replicas=fewest,
        max_replicas=most,
        target_ongoing_requests=at_once,
        metrics_interval_s=METRICS_INTERVAL_S,
        look_back_period_s=LOOK_BACK_S,
        upscale_delay_s=UPSCALE_DELAY_S,
        downscale_delay_s=downscale_delay_s,
    )
