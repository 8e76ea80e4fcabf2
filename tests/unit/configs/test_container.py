"""The image and ``compose.yaml``: what they name exists, and they agree with each other and with the service."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.ingress.http.routes import PUBLIC
from deployments.shared.settings import Settings
from tests.support.observability import parsed
from tests.support.paths import CONFIGS, ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
CONFIG = yaml.safe_load((CONFIGS / "container.yaml").read_text("utf-8"))
PORT = CONFIG["http_options"]["port"]


def instruction(name: str) -> str:
    """Return what the only instruction of that name says."""
    (found,) = re.findall(rf"^{name} (.+?)$", DOCKERFILE.replace("\\\n", ""), re.MULTILINE)
    return str(found)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    found: dict[str, Any] = document["services"]
    return found


class TestImage:
    def test_what_is_built_from_is_sent_to_the_builder(self) -> None:
        ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
        needed = {"pyproject.toml", "requirements.lock", "README.md", "LICENSE", "serve_config.yaml", "configs"}
        assert sent == needed | {"deployments", "npu_encoder", "loadtests"}
        assert {name for name in sent if not (ROOT / name).exists()} == set()

    def test_it_serves_the_configuration_that_was_copied(self) -> None:
        source, target = instruction("COPY").split()
        assert (ROOT / source) == CONFIGS / "container.yaml"
        assert instruction("CMD") == f'["serve", "{target}"]'

    def test_it_answers_on_the_port_that_it_exposes(self) -> None:
        assert CONFIG["http_options"] == {"host": "0.0.0.0", "port": int(instruction("EXPOSE"))}

    def test_its_health_is_asked_where_no_key_is_needed(self) -> None:
        (path,) = re.findall(rf"http://127\.0\.0\.1:{PORT}([/\w]+)", instruction("HEALTHCHECK"))
        assert path in {route.path for route in PUBLIC}

    def test_signals_reach_the_service(self) -> None:
        assert instruction("ENTRYPOINT") == '["tini", "--", "amanuensis"]'
        assert instruction("STOPSIGNAL") == "SIGTERM"

    def test_its_user_is_the_one_that_the_pods_name(self) -> None:
        user = int(instruction("USER"))
        for name in ("kubernetes-cpu.yaml", "kubernetes-rayservice.yaml"):
            named = re.findall(r"fsGroup: (\d+)", (CONFIGS / name).read_text("utf-8"))
            assert named == [str(user)], name

    def test_the_aligner_is_what_the_build_argument_leaves_out(self) -> None:
        excluded = re.findall(r"echo (\w+) > /tmp/excludes", DOCKERFILE)
        assert excluded == [instruction("ARG").partition("=")[2]] == ["whisperx"]


class TestCompose:
    def test_files_that_are_mounted_exist(self, services: dict[str, Any]) -> None:
        sources = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
        assert [path for path in sources if path.startswith("./") and not (ROOT / path).exists()] == []

    def test_volumes_of_the_image_are_kept(self, services: dict[str, Any]) -> None:
        mounted = {volume.split(":")[1] for volume in services["amanuensis"]["volumes"]}
        assert mounted == set(yaml.safe_load(instruction("VOLUME")))

    def test_ports_are_published_on_this_machine_alone(self, services: dict[str, Any]) -> None:
        published = [port for service in services.values() for port in service["ports"]]
        assert all(port.startswith("127.0.0.1:") for port in published)
        assert services["amanuensis"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]

    def test_it_outlives_the_draining(self, services: dict[str, Any]) -> None:
        grace_s = float(services["amanuensis"]["stop_grace_period"].removesuffix("s"))
        assert grace_s > Settings.resolve({}).drain_timeout_s

    def test_the_service_takes_its_environment(self, services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in services["amanuensis"]["environment"].items():
            monkeypatch.setenv(name, value)
        assert Settings.resolve({}).allowed_hosts == ("amanuensis",)

    def test_prometheus_differs_in_where_the_service_is(self) -> None:
        alone, beside = parsed("prometheus.yml"), parsed("compose/prometheus.yml")
        (job,) = beside["scrape_configs"]
        assert job["static_configs"] == [{"targets": [f"amanuensis:{PORT}"]}]
        assert {**job, "static_configs": alone["scrape_configs"][0]["static_configs"]} == alone["scrape_configs"][0]
        assert {**beside, "scrape_configs": alone["scrape_configs"]} == alone

    @pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
    def test_prometheus_takes_its_configuration(self, tmp_path: Path) -> None:
        for name in ("compose/prometheus.yml", "alerts.yml"):
            shutil.copy(CONFIGS / name, tmp_path)
        subprocess.run(["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path, check=True)

    def test_grafana_differs_in_where_prometheus_is(self, services: dict[str, Any]) -> None:
        (alone,) = parsed("grafana/provisioning/datasources/prometheus.yml")["datasources"]
        (beside,) = parsed("compose/datasource.yml")["datasources"]
        assert beside == {**alone, "url": "http://prometheus:9090"}
        (provider,) = parsed("grafana/provisioning/dashboards/amanuensis.yml")["providers"]
        assert f"{provider['options']['path']}/dashboard.json" in "".join(services["grafana"]["volumes"])
