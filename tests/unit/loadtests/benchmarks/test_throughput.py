"""The throughput benchmark lets two checkouts take turns, and writes what it measured of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.benchmarks import throughput
from loadtests.benchmarks.accuracy.corpus import CorpusFile
from loadtests.benchmarks.parts.clip_sets import ClipSet
from loadtests.benchmarks.parts.measurements import Measurements
from loadtests.benchmarks.parts.throughput_report import write_report
from loadtests.common.checkout import HERE, Checkout
from loadtests.common.clips import Clip
from loadtests.common.closed_loop import LoadResult

ROWS = ["pipelined", "full-context", "sequential", "null"]
SENT = ClipSet(
    (Clip("a", b"", 4.0, "Red cat."), Clip("b", b"", 6.0, "Blue dog.")),
    {
        "a": CorpusFile("a", "read_speech", "en", "ann", 4.0, ("Red cat.",)),
        "b": CorpusFile("b", "read_speech", "en", "bob", 6.0, ("Blue dog.",)),
    },
)
TEXTS = {"a": {"red cat"}, "b": {"blue fog"}}


@pytest.fixture
def other(tmp_path: Path) -> Checkout:
    (tmp_path / "loadtests").mkdir()
    (tmp_path / "loadtests" / "null_graph.py").touch()
    return Checkout(tmp_path, ("deployments.launch",))


def measured(*rates: float, texts: dict[str, set[str]] = TEXTS, cpu_s: float = 0.2) -> Measurements:
    result = Measurements()
    for rate in rates:
        latencies_s = [1 / rate] * int(10 * rate)
        load = LoadResult(10.0, 100.0, latencies_s, texts)
        result.add_load(load, {"Encoder": cpu_s, "load generator": 0.1}, 10 * rate)
        result.encoder_busy.append(0.5)
    return result


def every(**changes: Measurements) -> dict[str, Measurements]:
    return {**{name: measured(10.0, 20.0) for name in ROWS}, **changes}


def report(found: dict[str, Measurements], against: dict[str, Measurements]) -> str:
    return write_report(found, against, SENT, "two rounds", {name: f"setup of {name}" for name in found})


def turns(against: Checkout | None, number: int) -> list[tuple[str, Checkout]]:
    return [(one.name, checkout) for one, checkout in throughput.turns(against, number, ROWS, "base")]


def test_one_checkout_takes_its_turns_in_the_order_of_the_rows() -> None:
    assert turns(None, 2) == [(name, HERE) for name in ROWS]


def test_two_checkouts_alternate_row_by_row_and_each_goes_first_in_every_other_round(other: Checkout) -> None:
    assert turns(other, 1) == [(name, checkout) for name in ROWS for checkout in (HERE, other)]
    assert turns(other, 2) == [(name, checkout) for name in ROWS for checkout in (other, HERE)]


def test_each_checkout_is_given_its_own_null_graph(other: Checkout) -> None:
    builders = {checkout: one.builder for one, checkout in throughput.turns(other, 1, ["null"], "base")}
    assert builders == {HERE: f"{HERE.null_graph}:build", other: "loadtests.null_graph:build"}


def test_all_services_have_the_same_weights_and_differ_in_one_setting_each() -> None:
    applications = [one for one, _ in throughput.turns(None, 1, ROWS[:3], "base")]
    assert {one.as_config()["args"]["whisper_model"] for one in applications} == {"base"}
    assert [dict(one.settings) for one in applications] == [{}, {"audio_context": "full"}, {"enable_pipeline": False}]


def test_the_table_shows_both_checkouts_and_their_ratio_round_by_round() -> None:
    text = report(every(pipelined=measured(11.0, 30.0)), every())
    assert "| pipelined | 20.50 (11.00-30.00) |" in text
    assert "| pipelined, other checkout | 15.00 (10.00-20.00) |" in text
    assert "| pipelined | 1.300 (1.100-1.500)x | 0.788 (0.667-0.909)x |" in text
    assert "| null | 1.000 (1.000-1.000)x |" in text
    assert "- pipelined / sequential: 1.30 (1.10-1.50)x" in text


def test_the_full_context_is_compared_with_the_peer_that_has_it_too() -> None:
    peer = Measurements()
    peer.add_load(LoadResult(10.0, 50.0, [0.5] * 20, {}), {"process": 5.0}, 300.0)
    peer.add_load(LoadResult(10.0, 50.0, [0.5] * 40, {}), {"process": 5.0}, 300.0)
    text = report(every(**{"faster-whisper": peer}), {})
    assert "- pipelined / faster-whisper: 5.00 (5.00-5.00)x" in text
    assert "- full-context / faster-whisper: 5.00 (5.00-5.00)x" in text
    assert "| faster-whisper | 3.00 (2.00-4.00) | 5.0 (5.0-5.0) | 500 (500-500) | 500 (500-500) | 166.7 |" in text
    assert "- faster-whisper: setup of faster-whisper" in text


def test_a_checkout_that_says_something_else_is_told() -> None:
    another = measured(10.0, 20.0, texts={**TEXTS, "b": {"blue dog"}})
    text = report(every(), every(pipelined=another))
    (row,) = [line for line in text.splitlines() if line.startswith("| pipelined | 1.000")]
    assert row.endswith("| NO: b |")
    assert "transcripts of pipelined and sequential identical: yes" in text


def test_without_another_checkout_there_is_nothing_to_compare_with() -> None:
    text = report(every(), {})
    assert "other" not in text
    figures = "15.00 (10.00-20.00) | 10.0 (10.0-10.0) | 75 (50-100) | 75 (50-100) | 1.3 | 150 (100-200) | 50% |"
    assert f"| pipelined | {figures} 25.0 (0.0-50.0) |" in text
    assert f"| null | {figures} - |" in text
    assert "- pipelined: Encoder 1.33, load generator 0.67" in text
    assert text.startswith("2 clips of 4.0-6.0 s (mean 5.0 s) by 2 speakers, two rounds; ")


def test_errors_are_counted_as_whisper_s_authors_count_them_and_every_different_text_counts() -> None:
    found = measured(10.0, texts={"a": {"RED CAT!", "Red hat."}})
    rate = found.error_rate(SENT.recordings)
    assert rate is not None
    assert rate.value == pytest.approx(1 / 4)
    assert rate.low is None
    assert Measurements().error_rate(SENT.recordings) is None
