"""The report of the throughput benchmark, from measurements that are known."""

from __future__ import annotations

import pytest

from loadtests.benchmarks.parts.measurements import Measurements
from loadtests.benchmarks.parts.throughput_report import write_report
from loadtests.common.clips import Clip
from loadtests.common.closed_loop import LoadResult

ROWS = ["pipelined", "full-context", "sequential", "null"]
CORPUS = [Clip("a", b"", 4.0, "One two."), Clip("b", b"", 6.0, "Three four.")]
TEXTS = {"a": {"one two"}, "b": {"three for"}}


def measured(*rates: float, texts: dict[str, set[str]] = TEXTS, cpu_s: float = 0.2) -> Measurements:
    result = Measurements()
    for rate in rates:
        latencies_s = [1 / rate] * int(10 * rate)
        result.add_load(LoadResult(10.0, 100.0, latencies_s, texts), {"Encoder": cpu_s, "load generator": 0.1})
        result.encoder_busy.append(0.5)
    return result


def every(**changes: Measurements) -> dict[str, Measurements]:
    return {**{name: measured(10.0, 20.0) for name in ROWS}, **changes}


def test_the_table_shows_every_contender_and_what_it_cost() -> None:
    report = write_report(every(pipelined=measured(11.0, 30.0)), CORPUS, "two rounds")
    assert "- pipelined / sequential: 1.3 (1.1-1.5)x" in report
    report = write_report(every(), CORPUS, "two rounds")
    assert "| pipelined | 15.0 (10.0-20.0) | 10 (10-10) | 75 (50-100) | 75 (50-100) | 1.3 | 50% | 25.0 |" in report
    assert "- pipelined: Encoder 1.33, load generator 0.67" in report


def test_a_peer_that_takes_one_clip_after_the_other_has_a_latency_and_no_p99() -> None:
    peer = Measurements()
    peer.add_sequence(20, 10.0, 5.0, {"a": "one two"}, mean_s=5.0)
    assert (peer.requests_per_s, peer.real_time_factors, peer.p50_ms, peer.p99_ms) == ([2.0], [10.0], [500.0], [])
    assert peer.service_cpu_ms == pytest.approx(250.0)
    assert peer.error_rate(CORPUS) == 0.0
