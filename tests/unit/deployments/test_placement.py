"""Which nodes the graph may use, and how arrays travel between them."""

from typing import Any

import pytest

from deployments.placement import Placement, replicas
from deployments.shared.errors import ConfigurationError
from deployments.shared.settings import Settings


def node(address: str, *, npu: float = 0, alive: bool = True) -> dict[str, Any]:
    """As ``ray.nodes()`` describes it."""
    head = {"node:__internal_head__": 1.0} if address.endswith(".1") else {}
    resources = {"CPU": 2.0, f"node:{address}": 1.0, **head}
    return {"Alive": alive, "Resources": {**resources, "npu": npu} if npu else resources}


def place(*nodes: dict[str, Any], **settings: Any) -> Placement:
    return Placement(Settings.resolve(settings), list(nodes))


def test_on_one_node_arrays_stay_in_its_memory_and_nothing_may_run_elsewhere() -> None:
    placement = place(node("10.0.0.1", npu=1))
    assert placement.settings.handoff == "shared_memory"
    for options in (placement.cpu_stage, placement.ingress, placement.encoder):
        assert options["num_cpus"] == 0
        assert 0 < options["resources"]["node:10.0.0.1"] < 0.01
    assert placement.encoder["resources"]["npu"] == 1


def test_among_several_nodes_arrays_travel_through_the_object_store() -> None:
    placement = place(node("10.0.0.1"), node("10.0.0.2", npu=1))
    assert placement.settings.handoff == "object_store"
    assert placement.cpu_stage["resources"] == {}
    assert list(placement.ingress["resources"]) == ["node:__internal_head__"]
    assert placement.encoder["resources"] == {"npu": 1}


def test_a_dead_node_does_not_count() -> None:
    assert place(node("10.0.0.1", npu=1), node("10.0.0.2", alive=False)).settings.handoff == "shared_memory"


def test_shared_memory_among_several_nodes_uses_the_one_with_the_device() -> None:
    placement = place(node("10.0.0.1"), node("10.0.0.2", npu=2), handoff="shared_memory", encoder_replicas=2)
    assert "node:10.0.0.2" in placement.ingress["resources"]
    with pytest.raises(ConfigurationError, match="object_store"):
        place(node("10.0.0.1", npu=1), node("10.0.0.2", npu=1), handoff="shared_memory", encoder_replicas=2)


@pytest.mark.parametrize(("npus", "needed"), [((0, 0), 1), ((1, 1), 3)])
def test_too_few_devices_are_an_error_that_says_how_many(npus: tuple[int, int], needed: int) -> None:
    nodes = [node(f"10.0.0.{number}", npu=npu) for number, npu in enumerate(npus, start=1)]
    with pytest.raises(ConfigurationError, match=rf"offer {sum(npus)} of .* encoder_replicas is {needed}") as caught:
        place(*nodes, encoder_replicas=needed)
    assert f'{{"npu": {needed}}}' in str(caught.value)


def test_without_a_maximum_the_number_is_fixed() -> None:
    assert replicas(2, 0, at_once=8, drain_s=30) == {"num_replicas": 2, "graceful_shutdown_timeout_s": 30}
    assert replicas(2, 2, at_once=8, drain_s=30)["num_replicas"] == 2


def test_with_a_maximum_replicas_follow_the_calls_under_way() -> None:
    options = replicas(1, 4, at_once=8, drain_s=30)
    scaling = options["autoscaling_config"]
    assert "num_replicas" not in options
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (1, 4, 8)
    assert scaling.upscale_delay_s < scaling.downscale_delay_s, "adding is urgent, removing is not"
    assert scaling.metrics_interval_s < scaling.look_back_period_s
    assert options["graceful_shutdown_timeout_s"] == 30, "a replica that goes finishes its calls"
