"""Prometheus' configuration, the alerts and the dashboard: well-formed, and about series that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import prometheus_client
import pytest
import ray
import yaml

from deployments.ingress.http.routes import OPERATOR
from deployments.ingress.telemetry.record import OUTCOMES
from tests.support.observability import SERIES, alerts, dashboard, parsed, rules
from tests.support.paths import CONFIGS

NAME = re.compile(r"\b(?:amanuensis|process|ray)_[a-z_]+\b")
SELECTOR = re.compile(r"\b(amanuensis_[a-z_]+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(?:=~|!=|=)"([^"]*)"')
FROM_PROMETHEUS = {"instance", "job"}
VALUES: dict[str, set[str]] = {
    "outcome": {"answered", *OUTCOMES.values()},
    "status": {"healthy", "degraded", "failed", "silent"},
}


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule.get("alert", rule.get("record", "")), rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in dashboard()["templating"]["list"]:
        yield variable["name"], variable["query"]["query"]


def exported() -> dict[str, set[str]]:
    """Every name that a query may use, with its labels."""
    names: dict[str, set[str]] = {}
    for series in SERIES:
        if series.kind == "histogram":
            names |= {f"{series.name}_{part}": {*series.labels} for part in ("sum", "count")}
            names[f"{series.name}_bucket"] = {*series.labels, "le"}
        else:
            names[series.name] = {*series.labels}
    return names


def process_names() -> set[str]:
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    return {sample.name for family in registry.collect() for sample in family.samples}


def ray_names() -> str:
    return (Path(ray.__file__).parent / "dashboard/modules/reporter/reporter_agent.py").read_text("utf-8")


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_series_that_is_asked_for_exists(where: str, expression: str) -> None:
    names = NAME.findall(expression)
    assert names or expression.startswith("up{"), where
    for name in names:
        if name.startswith("ray_"):
            assert f'"{name.removeprefix("ray_")}"' in ray_names(), name
        else:
            assert name in exported() or name in process_names(), name
    assert all(expression.count(opening) == expression.count(closing) for opening, closing in ("()", "[]", "{}"))


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_label_that_is_asked_for_exists(where: str, expression: str) -> None:
    for name, selector in SELECTOR.findall(expression):
        for label, value in MATCHER.findall(selector):
            assert label in exported()[name] | FROM_PROMETHEUS, (where, name)
            assert set(value.split("|")) <= VALUES.get(label, {value}), (where, value)


def test_prometheus_scrapes_what_the_service_serves() -> None:
    config = parsed("prometheus.yml")
    ingress = next(job for job in config["scrape_configs"] if job["job_name"] == "amanuensis")
    assert ingress["metrics_path"] in {route.path for route in OPERATOR}
    port = yaml.safe_load((CONFIGS.parent / "serve_config.yaml").read_text("utf-8"))["http_options"]["port"]
    assert ingress["static_configs"][0]["targets"] == [f"localhost:{port}"]
    assert all((CONFIGS / name).is_file() for name in config["rule_files"])


def test_every_alert_says_how_bad_it_is_and_what_is_the_matter() -> None:
    assert len({rule["alert"] for rule in alerts()}) == len(alerts())
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_dashboard_s_panels_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (column, row)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_grafana_finds_its_data_source() -> None:
    (source,) = parsed("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert {panel["datasource"]["uid"] for panel in dashboard()["panels"]} == {source["uid"]}
    (provider,) = parsed("grafana/provisioning/dashboards/amanuensis.yml")["providers"]
    assert provider["type"] == "file"
