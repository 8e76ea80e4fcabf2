"""Every preset in ``configs``: Serve accepts it, and its arguments are settings."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from deployments.commands.launch.environment import FAST_PATHS, SELF_HEALING
from deployments.shared.resources import ENCODER_RESOURCE
from deployments.shared.settings import Settings
from tests.support.paths import ROOT

KUBERNETES = ROOT / "configs" / "kubernetes-rayservice.yaml"
PRESETS = [ROOT / "serve_config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]
"""What Prometheus reads is called ``.yml``."""


def serve_config(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path == KUBERNETES:
        embedded: dict[str, Any] = yaml.safe_load(document["spec"]["serveConfigV2"])
        return embedded
    return document


def settings_of(path: Path) -> Settings:
    (application,) = serve_config(path)["applications"]
    return Settings.resolve(application["args"])


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: str(path.name))
def test_serve_and_the_service_accept_it(path: Path) -> None:
    config = ServeDeploySchema.model_validate(serve_config(path))
    assert [application.import_path for application in config.applications] == ["deployments.app:build"]
    settings = settings_of(path)
    for most, fewest in (
        (settings.max_mel_replicas, settings.mel_replicas),
        (settings.max_decoder_replicas, settings.decoder_replicas),
    ):
        assert most == 0 or most > fewest, "a maximum that is no more than the minimum says nothing"
    assert settings.max_decoder_replicas * (settings.decoder_batch_size // 2) <= settings.slots, "never reached"
    assert settings.max_mel_replicas * settings.mel_threads <= settings.slots, "never reached"


def test_the_small_box_keeps_its_uploads_below_a_quarter_of_its_memory() -> None:
    settings = settings_of(ROOT / "configs" / "small-cpu-box.yaml")
    uploads = (settings.max_queue_size + settings.slots) * 2 * settings.max_upload_bytes
    assert uploads <= 2**30


class TestKubernetes:
    @pytest.fixture(scope="class")
    def cluster(self) -> dict[str, Any]:
        document = yaml.safe_load(KUBERNETES.read_text(encoding="utf-8"))
        assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", "RayService")
        config: dict[str, Any] = document["spec"]["rayClusterConfig"]
        return config

    @pytest.fixture(scope="class")
    def pods(self, cluster: dict[str, Any]) -> list[dict[str, Any]]:
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        return [group["template"]["spec"] for group in groups]

    def test_what_ray_reads_at_its_start_is_in_every_containers_environment(self, pods: list[dict[str, Any]]) -> None:
        for pod in pods:
            (container,) = pod["containers"]
            environment = {variable["name"]: variable["value"] for variable in container["env"]}
            assert environment == {**FAST_PATHS, **SELF_HEALING}

    def test_there_is_a_device_for_every_encoder(self, cluster: dict[str, Any]) -> None:
        (workers,) = cluster["workerGroupSpecs"]
        resources = json.loads(json.loads(workers["rayStartParams"]["resources"]))
        assert resources == {ENCODER_RESOURCE: 1}
        assert workers["replicas"] == workers["minReplicas"] == settings_of(KUBERNETES).encoder_replicas

    def test_pods_outlive_the_draining_and_have_shared_memory(self, pods: list[dict[str, Any]]) -> None:
        for pod in pods:
            assert pod["terminationGracePeriodSeconds"] > settings_of(KUBERNETES).drain_timeout_s
            (shared,) = [volume for volume in pod["volumes"] if volume["name"] == "shared-memory"]
            assert shared["emptyDir"]["medium"] == "Memory"
            mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
            assert mounts["shared-memory"] == str(settings_of(KUBERNETES).shared_memory_dir)

    def test_the_head_serves_where_kuberay_looks_for_it(self, pods: list[dict[str, Any]]) -> None:
        (container,) = pods[0]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["serve"] == serve_config(KUBERNETES)["http_options"]["port"]

    def test_no_ray_container_waits_for_the_application(self, pods: list[dict[str, Any]]) -> None:
        """KubeRay deploys it only when the head is ready."""
        for pod in pods:
            assert not {"readinessProbe", "startupProbe"} & pod["containers"][0].keys()
