"""What ``configs`` and the files for containers say: Serve accepts it, and what they set are settings."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from deployments.commands.launch.environment import AUTHENTICATION, FAST_PATHS, HAPROXY, SELF_HEALING, TOKEN
from deployments.haproxy.start import BINARY_VARIABLE
from deployments.ingress.http.routes import PUBLIC
from deployments.shared.resources import ENCODER_RESOURCE
from deployments.shared.settings import ENV_PREFIX, Settings
from tests.support.paths import ROOT

KUBERNETES = ROOT / "configs" / "kubernetes-rayservice.yaml"
KUBERNETES_CPU = ROOT / "configs" / "kubernetes-cpu.yaml"
PRESETS = [ROOT / "serve_config.yaml", *sorted({*(ROOT / "configs").glob("*.yaml")} - {KUBERNETES_CPU})]
"""What Prometheus reads is called ``.yml``."""


NAMES_VARIABLES = [ROOT / "Dockerfile", ROOT / "compose.yaml", *sorted((ROOT / "docs").glob("deploy-*.md"))]
NAMES_VARIABLES += sorted(path for path in (ROOT / "configs").rglob("*") if path.suffix in {".service", ".yaml"})


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


@pytest.mark.parametrize("path", NAMES_VARIABLES, ids=lambda path: str(path.name))
def test_variables_are_those_of_settings(path: Path) -> None:
    named = set(re.findall(rf"\b{ENV_PREFIX}[A-Z0-9_]+\b", path.read_text(encoding="utf-8")))
    assert named - {f"{ENV_PREFIX}{field.upper()}" for field in Settings.model_fields} == set()


def environment_of_the_image() -> str:
    """Return the directory of the Python environment that the Dockerfile makes."""
    (directory,) = re.findall(r"uv venv (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    return str(directory)


def test_the_shells_that_start_ray_on_several_machines_export_what_the_service_would_set() -> None:
    lines = (ROOT / "configs" / "several-npus.yaml").read_text(encoding="utf-8").splitlines()
    exports = " ".join(line.split("export ", 1)[1] for line in lines if line.startswith("#   export "))
    exported = dict(re.findall(r"(\w+)=(\$\(.*?\)|\S+)", exports))
    binary = {BINARY_VARIABLE: f"$(command -v {HAPROXY})"}
    assert exported == {**FAST_PATHS, **SELF_HEALING, AUTHENTICATION: TOKEN, **binary}


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
            assert environment == {
                **FAST_PATHS,
                **SELF_HEALING,
                BINARY_VARIABLE: f"{environment_of_the_image()}/bin/{HAPROXY}",
            }

    def test_ray_asks_for_a_token(self, cluster: dict[str, Any]) -> None:
        assert cluster["authOptions"] == {"mode": TOKEN}

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


class TestKubernetesWithoutNpu:
    @pytest.fixture(scope="class")
    def objects(self) -> dict[str, dict[str, Any]]:
        return {each["kind"]: each["spec"] for each in yaml.safe_load_all(KUBERNETES_CPU.read_text(encoding="utf-8"))}

    @pytest.fixture(scope="class")
    def pod(self, objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
        spec: dict[str, Any] = objects["Deployment"]["template"]["spec"]
        return spec

    def test_the_probes_ask_what_is_answered_without_a_key(self, pod: dict[str, Any]) -> None:
        (container,) = pod["containers"]
        asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
        assert {probe["path"] for probe in asked.values()} <= {route.path for route in PUBLIC}
        assert asked["liveness"]["path"] != asked["readiness"]["path"], "a service that drains must not be killed"
        assert {probe["port"] for probe in asked.values()} <= {port["name"] for port in container["ports"]}

    def test_the_port_is_the_image_s(self, objects: dict[str, dict[str, Any]], pod: dict[str, Any]) -> None:
        port = serve_config(ROOT / "configs" / "container.yaml")["http_options"]["port"]
        (named,) = pod["containers"][0]["ports"]
        assert named["containerPort"] == port
        assert [each["targetPort"] for each in objects["Service"]["ports"]] == [named["name"]]
        assert objects["Service"]["selector"] == objects["Deployment"]["template"]["metadata"]["labels"]

    def test_it_outlives_the_draining_and_has_what_it_mounts(self, pod: dict[str, Any]) -> None:
        assert pod["terminationGracePeriodSeconds"] > Settings.resolve({}).drain_timeout_s
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
        assert mounts["shared-memory"] == str(Settings.resolve({}).shared_memory_dir)
