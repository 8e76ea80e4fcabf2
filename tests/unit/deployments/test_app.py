"""The graph that is deployed, without deploying it."""

from typing import Any

import pytest
from ray.serve import Application

from deployments.app import build
from loadtests.benchmarks.parts import null_graph, serve_batching
from loadtests.benchmarks.parts.batching_variants import VARIANTS, application

NODE = {"Alive": True, "Resources": {"CPU": 2.0, "npu": 2.0, "node:10.0.0.1": 1.0, "node:__internal_head__": 1.0}}


@pytest.fixture(autouse=True)
def _one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.placement.ray.nodes", lambda: [NODE])


def deployments_of(application: Application) -> dict[str, Any]:
    """By name; the ingress's arguments are settings, model, mel, encoders, decoder, and a diarizer or None."""
    ingress = application._bound_deployment
    _, _, mel, encoders, decoder, diarizer = ingress.init_args
    beside = [] if diarizer is None else [diarizer]
    stages = [item._bound_deployment for item in (mel, *encoders, decoder, *beside)]
    return {deployment.name: deployment for deployment in (ingress, *stages)}


def test_every_encoder_is_pinned_to_a_device_of_its_own() -> None:
    deployments = deployments_of(build({"encoder_replicas": 2, "max_decoder_replicas": 2}))
    assert set(deployments) == {"Ingress", "MelPreprocessor", "Encoder", "Encoder2", "Decoder", "Diarizer"}
    for name, deployment in deployments.items():
        devices = deployment.ray_actor_options["resources"].get("npu", 0)
        assert devices == (1 if name.startswith("Encoder") else 0)
        assert "node:10.0.0.1" in deployment.ray_actor_options["resources"], "the slab is on this node"


def test_only_the_stages_that_may_grow_do() -> None:
    deployments = deployments_of(build({"max_decoder_replicas": 3}))
    growing = {name for name, item in deployments.items() if item._deployment_config.autoscaling_config}
    assert growing == {"Decoder", "Diarizer"}


def test_where_the_cores_allow_it_the_stages_without_a_device_grow_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("deployments.shared.settings.usable_cores", lambda: 16)
    deployments = deployments_of(build({}))
    growing = {name for name, item in deployments.items() if item._deployment_config.autoscaling_config}
    assert growing == {"MelPreprocessor", "Decoder", "Diarizer"}
    assert deployments["Decoder"]._deployment_config.autoscaling_config.max_replicas == 7
    unspoken = {"max_mel_replicas": 0, "max_decoder_replicas": 0, "diarization_model": "off"}
    fixed = deployments_of(build(unspoken))
    assert "Diarizer" not in fixed
    assert not any(item._deployment_config.autoscaling_config for item in fixed.values())


def test_what_tells_speakers_apart_has_no_replica_until_somebody_asks() -> None:
    scaling = deployments_of(build({}))["Diarizer"]._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (0, 1)


def test_calls_never_queue_in_the_router() -> None:
    deployments = deployments_of(build({"slots": 40}))
    assert all(deployment.max_ongoing_requests > 40 for deployment in deployments.values())


@pytest.mark.parametrize("builder", [null_graph.build, null_graph.build_around_encoder])
def test_the_graph_of_null_stages_has_the_same_shape(builder: Any) -> None:
    assert len(deployments_of(builder({}))) == 4


def test_the_graph_with_serves_batches_is_the_same_but_for_the_decoder() -> None:
    own = deployments_of(build({"diarization_model": "off"}))
    other = deployments_of(serve_batching.build({}, 0.01))
    assert own.keys() == other.keys()
    different = {name for name, item in own.items() if item.func_or_class is not other[name].func_or_class}
    assert different == {"Decoder"}
    configurations = [each["Decoder"]._deployment_config for each in (own, other)]
    own_options, other_options = (each.model_dump(exclude={"user_configured_option_names"}) for each in configurations)
    assert own_options == other_options
    assert own["Decoder"].ray_actor_options == other["Decoder"].ray_actor_options


@pytest.mark.parametrize(("name", "wait_s"), [item for item in VARIANTS.items() if item[1] is not None])
def test_every_wait_that_is_measured_has_a_builder(name: str, wait_s: float) -> None:
    module, _, function = application(name, "base").builder.partition(":")
    assert module == serve_batching.__name__
    decoder = deployments_of(getattr(serve_batching, function)({}))["Decoder"]
    assert decoder.init_args[-1] == wait_s


@pytest.mark.parametrize(("handoff", "slots"), [("shared_memory", 4), ("object_store", 16)])
def test_slots_are_fitted_to_shared_memory_once_for_all(
    handoff: str, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.shared.memory.fitting.free_bytes", lambda _: 0)
    deployments = deployments_of(build({"handoff": handoff}))
    assert {deployment.init_args[0].slots for deployment in deployments.values()} == {slots}
