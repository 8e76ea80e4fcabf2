"""The alert rules, judged by Prometheus' own tool: each fires where it must, and not where it must not."""

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.support.paths import CONFIGS

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=CONFIGS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_its_configuration_and_the_rules() -> None:
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_every_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", "alerts.test.yml")


def test_every_alert_is_tested_both_ways() -> None:
    def parsed(name: str) -> Any:
        return yaml.safe_load((CONFIGS / name).read_text("utf-8"))

    alerts = {rule["alert"] for group in parsed("alerts.yml")["groups"] for rule in group["rules"] if "alert" in rule}
    cases = [case for test in parsed("alerts.test.yml")["tests"] for case in test["alert_rule_test"]]
    assert alerts == {case["alertname"] for case in cases if case["exp_alerts"]}
    assert alerts == {case["alertname"] for case in cases if not case["exp_alerts"]}
