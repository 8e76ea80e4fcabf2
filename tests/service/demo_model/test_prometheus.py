"""A real Prometheus scrapes the running service: what the dashboard and the alerts ask for is there."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator

import psutil
import pytest
from openai import OpenAI

from loadtests.load.dashboard.prometheus import Prometheus, ray_session, watching, with_variables
from tests.support.observability import alerts, dashboard, rules
from tests.support.paths import AUDIO
from tests.support.shared_service import SharedService

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not installed (Debian: apt-get install prometheus)"
)

SCRAPE_S = 1.0
FOUND_S = 110.0
SELECTOR = re.compile(r"(?<!:)\b(?:(?:amanuensis|process|ray)_[a-z_]+|up)\b(?:\{[^}]*\})?")
PANELS = [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel["targets"]]
NOTHING_TO_SHOW = "Errors by code"
SELECTORS = sorted({selector for rule in rules() for selector in SELECTOR.findall(rule["expr"])})


@pytest.fixture(scope="module")
def prometheus(shared: SharedService, client: OpenAI) -> Iterator[Prometheus]:
    """One that has seen the service at work for several scrapes."""
    with watching(shared.url, ray_session(psutil.Process(shared.launcher)), scrape_interval_s=SCRAPE_S) as server:
        until = time.monotonic() + 6 * SCRAPE_S
        while time.monotonic() < until:
            with (AUDIO / "12_flite-rms-long.wav").open("rb") as file:
                client.audio.transcriptions.create(file=file, model="whisper-1")
        yield server


def found(prometheus: Prometheus, expression: str) -> bool:
    """Ray's exporter takes some seconds to see every process."""
    until = time.monotonic() + FOUND_S
    while not prometheus.now(expression):
        if time.monotonic() > until:
            return False
        time.sleep(SCRAPE_S)
    return True


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_series_of_an_alert_has_data(prometheus: Prometheus, selector: str) -> None:
    assert found(prometheus, selector)


@pytest.mark.parametrize(("title", "expression"), PANELS)
def test_every_query_of_the_dashboard_has_data(prometheus: Prometheus, title: str, expression: str) -> None:
    query = with_variables(expression, SCRAPE_S)
    if title == NOTHING_TO_SHOW:
        prometheus.now(query)
        query = query.removesuffix("> 0")
    assert found(prometheus, query)


def test_prometheus_can_evaluate_every_alert(prometheus: Prometheus) -> None:
    found_rules = {rule["name"]: rule for rule in prometheus.rules()}
    assert {rule["alert"] for rule in alerts()} <= set(found_rules)
    assert {name: rule.get("lastError", "") for name, rule in found_rules.items() if rule["health"] == "err"} == {}
    assert found_rules["AmanuensisDown"]["state"] == found_rules["AmanuensisNotReady"]["state"] == "inactive"


def test_each_deployment_s_memory_is_one_series(prometheus: Prometheus) -> None:
    recorded = "deployment:ray_component_uss_bytes:sum"
    assert found(prometheus, recorded)
    found_now = prometheus.now(recorded)
    used = {labels["deployment"]: value for labels, value in found_now}
    assert len(used) == len(found_now)
    assert all(used[f"amanuensis:{name}"] > 0 for name in ("Ingress", "MelPreprocessor", "Encoder", "Decoder"))
