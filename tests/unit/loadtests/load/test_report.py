"""The page that is made of load tests' raw results."""

from __future__ import annotations

import dataclasses
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from loadtests.load.report.page import page
from loadtests.load.report.run import RecordedRun, read_run
from loadtests.load.report.sentences import duration, summary
from loadtests.load.scenarios.plan import Scenario, scenarios
from loadtests.load.scenarios.recording import Recording, RequestRow
from loadtests.load.scenarios.schedule import due_times
from loadtests.load.scenarios.wording import quantity
from tests.support.recorded_load import CALIBRATED, recording, scenario, snapshots, write

VOID = frozenset({"meta"})


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    return run_of(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    """A run in which all took ten times as long."""
    return run_of(tmp_path_factory.mktemp("slow"), slower=10.0)


@pytest.fixture(scope="module")
def comparison(slow: RecordedRun, good: RecordedRun) -> str:
    """The page of the slow run beside the good one."""
    return page(slow, good)


def run_of(directory: Path, *, slower: float = 1.0) -> RecordedRun:
    """A run of all short scenarios, as if they had been recorded."""
    plans = [plan.at(CALIBRATED, CALIBRATED.mean_clip_s) for plan in scenarios("short")]
    return read_run(write(directory, *(_recorded(plan, slower) for plan in plans)))


def _recorded(plan: Scenario, slower: float) -> Recording:
    rng = random.Random(1)
    template = recording(plan).requests
    sent = [_ended(one, rng, slower) for one in template]
    assert len(sent) == sum(1 for _ in due_times(plan.phases))
    return recording(plan, sent, snapshots(plan.seconds, mib_a_second=0.05))


def _ended(one: RequestRow, rng: random.Random, slower: float) -> RequestRow:
    one = dataclasses.replace(one, seconds=slower * rng.uniform(0.05, 0.2), priority=rng.choice(("high", "low")))
    if one.phase == "overload" and rng.random() < 0.5:
        return dataclasses.replace(
            one, outcome="refused", status=503, code="overloaded", retry_after_s=2.0, seconds=0.002
        )
    return one


class Tags(HTMLParser):
    """Fails on a tag that is closed in the wrong place."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href"} & {name for name, value in attrs if value and not value.startswith("#")}, tag
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(comparison: str) -> None:
    html, tags = comparison, Tags()
    tags.feed(html)
    assert tags.open == []
    assert "<script" not in html
    assert "A &lt;CPU&gt;" in html
    assert len(html.encode()) < 600_000
    pictures = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(pictures) == 6 + 4 + 1
    assert all(ET.fromstring(picture) is not None for picture in pictures)  # noqa: S314  (our own)
    assert "#0a0b0c" not in html


def test_numbers_at_the_axes_keep_their_digits(tmp_path: Path) -> None:
    one = recording(scenario(), seen=snapshots(20.0))
    html = page(read_run(write(tmp_path / "run", one)))
    labels = re.findall(r">([\d.]+)</text>", html)
    assert {"0.25", "0.50", "0.75"} <= set(labels)


def test_what_came_instead_of_texts_is_listed_by_code(tmp_path: Path) -> None:
    plan = scenario()
    sent = recording(plan).requests
    for place in (1, 2):
        sent[place] = dataclasses.replace(sent[place], outcome="late", status=504, code="deadline_exceeded")
    sent[3] = dataclasses.replace(sent[3], outcome="error", status=0, code="ConnectionResetError")
    html = page(read_run(write(tmp_path / "run", recording(plan, sent))))
    assert "Instead of right texts: 2 x 504 deadline_exceeded, 1 x no answer ConnectionResetError." in html


def test_the_summary_names_what_was_not_met(slow: RecordedRun, comparison: str) -> None:
    text = summary(slow)
    assert "Not met: " in text
    assert "steady: latency over a request alone, p95" in text
    assert "(at most 4 times)" in text
    assert "0 transcripts differed" in text
    assert 'class="summary failed"' in comparison


def test_the_summary_of_a_good_run_says_so_and_tells_every_scenario(good: RecordedRun) -> None:
    total = sum(len(one.verdicts) for one in good.scenarios)
    text = summary(good)
    assert text.startswith(f"{total} of {total} criteria are met in 6 scenarios with ")
    assert "16 requests/s, 160% of the capacity, was the highest offered load" in text
    assert "the trend of memory was 180 MiB/h" in text


def test_a_comparison_shows_both_values_and_their_ratio(comparison: str) -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", comparison)
    row = next(row for row in rows if "ramp" not in row and "latency, p50, ms" in row and "steady" in row)
    mine, theirs, ratio = (float(cell) for cell in re.findall(r"<td>([\d.]+)</td>", row))
    assert mine == pytest.approx(10 * theirs, rel=0.02)
    assert ratio == 10.0


def test_a_scenario_that_only_one_run_has_is_not_compared(good: RecordedRun, tmp_path: Path) -> None:
    one = read_run(write(tmp_path / "one", recording(scenario())))
    compared = page(one, good).split("Compared with")[1].split("<h2")[0]
    assert "steady" in compared
    assert "overload" not in compared


def test_a_run_without_processes_to_weigh_has_a_page_too(tmp_path: Path) -> None:
    bare = [dataclasses.replace(one, memory_mib={}, cpu_s={}) for one in snapshots(20.0)]
    html = page(read_run(write(tmp_path / "run", recording(scenario(), seen=bare))))
    assert "Where the CPU goes" not in html


def test_numbers_have_three_digits_and_their_unit() -> None:
    assert quantity("p95_ms", 12.345) == "12.3 ms"
    assert quantity("p95_ms", 1234.5) == "1234 ms"
    assert quantity("wrong", 0) == "0"
    assert quantity("p95_ms", None) == "not measured"
    assert (duration(75), duration(300)) == ("75 s", "5 min")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_run(tmp_path)
