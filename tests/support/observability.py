"""Prometheus' rules and Grafana's dashboard, as they are in ``configs``."""

import json
from typing import Any

import yaml

from deployments.ingress.telemetry import series
from deployments.ingress.telemetry.series import Series
from tests.support.paths import CONFIGS

SERIES = tuple(value for value in vars(series).values() if isinstance(value, Series))


def parsed(name: str) -> Any:
    return yaml.safe_load((CONFIGS / name).read_text("utf-8"))


def rules() -> list[dict[str, Any]]:
    return [rule for group in parsed("alerts.yml")["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def dashboard() -> Any:
    return json.loads((CONFIGS / "grafana" / "dashboard.json").read_text("utf-8"))
