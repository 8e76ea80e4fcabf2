"""The benchmark of batches: whose turn it is, how batches are counted, and what the report compares."""

from __future__ import annotations

import pytest

from loadtests.benchmarks.batching import BatchCount, Measured, rotated, write_report
from loadtests.benchmarks.parts.batching_variants import OWN, VARIANTS, application
from loadtests.common.closed_loop import LoadResult


def measured(*rates: float, batch: float, text: str = "red cat") -> Measured:
    result = Measured()
    for rate in rates:
        load = LoadResult(10.0, 100.0, [1 / rate] * int(10 * rate), {"a": {text}})
        result.load.add_load(load, {"Decoder": 0.2}, 100.0)
        result.batch_sizes.append(batch)
    return result


def test_every_round_begins_with_another_one() -> None:
    assert [rotated("abc", number)[0] for number in range(4)] == ["a", "b", "c", "a"]
    assert rotated("abc", 1) == ["b", "c", "a"]


def test_all_variants_have_the_same_settings_and_a_graph_of_their_own() -> None:
    applications = [application(name, "base") for name in VARIANTS]
    assert all(each.settings == applications[0].settings for each in applications)
    assert len({each.builder for each in applications}) == len(VARIANTS)


def test_the_mean_batch_of_a_turn_is_of_that_turn_only() -> None:
    before = BatchCount(windows=10, batches=10)
    assert BatchCount(windows=50, batches=20).mean_since(before) == 4.0


def test_the_report_compares_round_by_round() -> None:
    found = {name: measured(5.0, 10.0, batch=2.0) for name in VARIANTS}
    found[OWN] = measured(10.0, 15.0, batch=6.0)
    found["serve-50"].load.texts["a"] = {"red hat"}
    lines = write_report(found, "two rounds").splitlines()
    assert lines[0] == "two rounds; median (lowest-highest round)"
    assert len(lines) == 2 + 2 + len(VARIANTS) + 1 + 2 + len(VARIANTS) - 1
    assert lines[-3].startswith("| `@serve.batch`, 0 ms | 1.750 (1.500-2.000)x | 0.583 (0.500-0.667)x |")
    assert "3.00 (3.00-3.00)x" in lines[-3]
    assert lines[-3].endswith("| yes |")
    assert lines[-1].endswith("| NO: a |")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_a_row(name: str) -> None:
    found = {each: measured(1.0, batch=1.0) for each in VARIANTS}
    waits = VARIANTS[name]
    row = "| `NaturalBatcher` |" if waits is None else f"| `@serve.batch`, {1000 * waits:g} ms |"
    assert row in write_report(found, "")
