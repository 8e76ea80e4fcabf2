"""What is counted is counted once, in a registry of the service's own, and read back as it was counted."""

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deployments.ingress.http.metrics import READINGS
from deployments.ingress.telemetry.series import GaugeSeries
from deployments.ingress.telemetry.statistics import Statistics
from deployments.ingress.telemetry.tally import LATEST, Recent, Tally
from deployments.shared.contracts import StageTiming
from deployments.shared.errors import DeadlineExceededError, StageLostError
from tests.support.observability import SERIES


def test_each_series_is_either_counted_or_read() -> None:
    counted = {family.name for family in Statistics().registry.collect()}
    for series in SERIES:
        name = series.name.removesuffix("_total") if series.kind == "counter" else series.name
        assert (name in counted) != (series in READINGS), series.name
        assert name not in counted or not isinstance(series, GaugeSeries)
    assert len(counted) + len(READINGS) == len(SERIES)


def test_nothing_is_counted_in_the_registry_that_all_share() -> None:
    Statistics()
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("amanuensis")]


def test_no_series_tells_when_another_was_made() -> None:
    text = generate_latest(Statistics().registry).decode()
    assert not [family.name for family in text_string_to_metric_families(text) if family.name.endswith("_created")]


def test_the_calls_of_a_stage_are_read_back_as_they_were_counted() -> None:
    statistics = Statistics()
    for call_s in (0.5, 0.1, 0.3):
        statistics.encoder.processed(call_s, StageTiming(0.05, 0.2, 4, "replica", "cpu:test"))
    statistics.encoder.failed(StageLostError("gone"))
    statistics.encoder.failed(DeadlineExceededError("late"))
    statistics.encoder.retried()
    stage = statistics.encoder
    assert stage.calls.count == 3
    assert stage.calls.mean == pytest.approx(0.3)
    assert stage.runs.mean == pytest.approx(0.2)
    assert stage.queues.mean == pytest.approx(0.05)
    assert (stage.recent_calls.min_s, stage.recent_calls.max_s) == (0.1, 0.5)
    assert stage.busy_s == pytest.approx(3 * 0.2 / 4)
    assert stage.mean_batch_size == pytest.approx(4)
    assert (stage.errors, stage.timeouts, stage.retries) == (1, 1, 1)
    assert stage.success_ratio == pytest.approx(3 / 5)
    assert statistics.mel.calls == statistics.decoder.calls == Tally(0, 0.0)
    assert statistics.mel.success_ratio == 1.0


def test_the_queue_is_read_back_as_it_was_counted() -> None:
    queue = Statistics().queue
    for wait_s in (0.0, 2.0, 0.0, 0.0):
        queue.enqueued()
        queue.dequeued(wait_s)
    queue.dropped("displaced")
    assert (queue.entered, queue.waited, queue.waits.count) == (4, 1, 4)
    assert queue.drops == {"displaced": 1}
    assert (queue.drop_ratio, queue.hit_ratio) == (0.2, 0.75)


def test_extremes_are_since_the_start_and_percentiles_of_the_latest_values() -> None:
    recent = Recent()
    assert (recent.min_s, recent.max_s, recent.percentile(50)) == (0.0, 0.0, 0.0)
    for seconds in (9.0, 0.5, *[2.0] * LATEST):
        recent.add(seconds)
    assert (recent.min_s, recent.max_s) == (0.5, 9.0)
    assert recent.percentile(1) == recent.percentile(99) == 2.0
