"""A Prometheus server beside a running service, with this repository's configuration, and questions to it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import requests
import yaml

from loadtests.common.paths import CONFIGS
from loadtests.common.readiness import comes_up
from loadtests.common.service_process import free_port

SESSION_ARGUMENT = "--session-dir="
EXPORTERS = "prom_metrics_service_discovery.json"
READY_S = 30.0

RAY_INTERVAL_S = 5.0
"""Ray measures its processes no more often, and on a busy machine it needs more than a second to tell: a scrape may
take as long as the interval."""

Labels = dict[str, str]


@dataclass(frozen=True)
class Line:
    """One series of an answer: times in seconds since the epoch, and its values then."""

    labels: Labels
    times: list[float]
    values: list[float]


class Prometheus:
    """Prometheus' HTTP API.

    Every method raises ``RuntimeError`` with Prometheus' own words where it rejects an expression.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def now(self, expression: str) -> list[tuple[Labels, float]]:
        """Return the value of each series at this moment."""
        result = self._ask("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def between(self, expression: str, start: float, end: float, step_s: float) -> list[Line]:
        """Return each series from ``start`` to ``end``, both in seconds since the epoch."""
        result = self._ask("query_range", query=expression, start=start, end=end, step=step_s)["result"]
        return [
            Line(series["metric"], [at for at, _ in series["values"]], [float(value) for _, value in series["values"]])
            for series in result
        ]

    def rules(self) -> list[dict[str, Any]]:
        """Return the alert rules, with their state and health."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def _ask(self, what: str, **parameters: str | float) -> dict[str, Any]:
        answer = requests.get(f"{self.url}/api/v1/{what}", params=parameters, timeout=30).json()
        if answer["status"] != "success":
            raise RuntimeError(f"{answer['error']}: {parameters}")
        data: dict[str, Any] = answer["data"]
        return data


def with_variables(expression: str, scrape_interval_s: float) -> str:
    """Return the dashboard's ``expression`` as Grafana sends it for all instances."""
    return expression.replace("$instance", ".*").replace("$__rate_interval", f"{4 * scrape_interval_s:g}s")


def ray_session(launcher: psutil.Process) -> Path:
    """Return the directory of the Ray that ``launcher`` started."""
    arguments = (argument for process in launcher.children(recursive=True) for argument in _command_line(process))
    return Path(next(item for item in arguments if item.startswith(SESSION_ARGUMENT)).removeprefix(SESSION_ARGUMENT))


@contextmanager
def watching(service_url: str, session: Path, *, scrape_interval_s: float) -> Iterator[Prometheus]:
    """Run Prometheus as ``configs/prometheus.yml`` has it, but for this service, at this pace, on a free port.

    Args:
        session: the directory of the service's Ray, which holds the list of Ray's exporters.
    """
    config = yaml.safe_load((CONFIGS / "prometheus.yml").read_text("utf-8"))
    config["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), f"{scrape_interval_s:g}s")
    config["rule_files"] = [str(CONFIGS / name) for name in config["rule_files"]]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    jobs["amanuensis"]["static_configs"] = [{"targets": [urlsplit(service_url).netloc]}]
    jobs["ray"]["scrape_interval"] = f"{max(scrape_interval_s, RAY_INTERVAL_S):g}s"
    jobs["ray"]["file_sd_configs"] = [{"files": [str(session / EXPORTERS)]}]
    with tempfile.TemporaryDirectory() as directory:
        path, address = Path(directory) / "prometheus.yml", f"127.0.0.1:{free_port()}"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        command = ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={directory}/data"]
        with (Path(directory) / "log").open("wb") as log:
            process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
        try:
            if not comes_up(f"http://{address}/-/ready", READY_S, process):
                raise RuntimeError(f"Prometheus did not start:\n{Path(log.name).read_text(encoding='utf-8')}")
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()
            process.wait()


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []
