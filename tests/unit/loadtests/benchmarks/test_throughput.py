"""The throughput benchmark lets two checkouts take turns, and writes what it measured of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.benchmarks import throughput
from loadtests.benchmarks.parts.measurements import Measurements
from loadtests.benchmarks.parts.throughput_report import write_report
from loadtests.common.checkout import HERE, Checkout
from loadtests.common.clips import Clip
from loadtests.common.closed_loop import LoadResult

ROWS = ["pipelined", "full-context", "sequential", "null"]
CORPUS = [Clip("a", b"", 4.0, "One two."), Clip("b", b"", 6.0, "Three four.")]
TEXTS = {"a": {"one two"}, "b": {"three for"}}


@pytest.fixture
def other(tmp_path: Path) -> Checkout:
    (tmp_path / "loadtests").mkdir()
    (tmp_path / "loadtests" / "null_graph.py").touch()
    return Checkout(tmp_path, ("deployments.launch",))


def measured(*rates: float, texts: dict[str, set[str]] = TEXTS, cpu_s: float = 0.2) -> Measurements:
    result = Measurements()
    for rate in rates:
        latencies_s = [1 / rate] * int(10 * rate)
        result.add_load(LoadResult(10.0, 100.0, latencies_s, texts), {"Encoder": cpu_s, "load generator": 0.1})
        result.encoder_busy.append(0.5)
    return result


def every(**changes: Measurements) -> dict[str, Measurements]:
    return {**{name: measured(10.0, 20.0) for name in ROWS}, **changes}


def test_one_checkout_takes_its_turns_in_the_order_of_the_rows() -> None:
    assert [(one.name, checkout) for one, checkout in throughput.turns(None, 2)] == [(name, HERE) for name in ROWS]


def test_two_checkouts_alternate_row_by_row_and_each_goes_first_in_every_other_round(other: Checkout) -> None:
    odd = [(one.name, checkout) for one, checkout in throughput.turns(other, 1)]
    even = [(one.name, checkout) for one, checkout in throughput.turns(other, 2)]
    assert odd == [(name, checkout) for name in ROWS for checkout in (HERE, other)]
    assert even == [(name, checkout) for name in ROWS for checkout in (other, HERE)]


def test_each_checkout_is_given_its_own_null_graph(other: Checkout) -> None:
    builders = {checkout: one.builder for one, checkout in throughput.turns(other, 1) if one.name == "null"}
    assert builders == {HERE: f"{HERE.null_graph}:build", other: "loadtests.null_graph:build"}


def test_the_table_shows_both_checkouts_and_their_ratio_round_by_round() -> None:
    report = write_report(every(pipelined=measured(11.0, 30.0)), every(), CORPUS, "two rounds")
    assert "| pipelined | 20.5 (11.0-30.0) |" in report
    assert "| pipelined, other checkout | 15.0 (10.0-20.0) |" in report
    assert "| pipelined | 1.300 (1.100-1.500)x | 0.788 (0.667-0.909)x |" in report
    assert "| null | 1.000 (1.000-1.000)x |" in report
    assert "- pipelined / sequential: 1.3 (1.1-1.5)x" in report


def test_a_checkout_that_says_something_else_is_told() -> None:
    another = measured(10.0, 20.0, texts={**TEXTS, "b": {"three four"}})
    report = write_report(every(), every(pipelined=another), CORPUS, "two rounds")
    (row,) = [line for line in report.splitlines() if line.startswith("| pipelined | 1.000")]
    assert row.endswith("| NO: b |")
    assert "transcripts of pipelined and sequential identical: yes" in report


def test_without_another_checkout_there_is_nothing_to_compare_with() -> None:
    report = write_report(every(), {}, CORPUS, "two rounds")
    assert "other" not in report
    assert "| pipelined | 15.0 (10.0-20.0) | 10 (10-10) | 75 (50-100) | 75 (50-100) | 1.3 | 50% | 25.0 |" in report
    assert "- pipelined: Encoder 1.33, load generator 0.67" in report


def test_a_peer_that_takes_one_clip_after_the_other_has_a_latency_and_no_p99() -> None:
    peer = Measurements()
    peer.add_sequence(20, 10.0, 5.0, {"a": "one two"}, mean_s=5.0)
    assert (peer.requests_per_s, peer.real_time_factors, peer.p50_ms, peer.p99_ms) == ([2.0], [10.0], [500.0], [])
    assert peer.service_cpu_ms == pytest.approx(250.0)
    assert peer.error_rate(CORPUS) == 0.0
