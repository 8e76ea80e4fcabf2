"""What a run found, as a page and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace

from loadtests.load.crowd.clients import OK, Attempt
from loadtests.load.crowd.figures import Gathering, Hours, Page, Verdict, returns
from loadtests.load.scenarios.estimates import percentile

PRIORITIES = ("high", "normal")


def as_json(page: Page) -> str:
    """Every attempt and verdict; the text of the hours is left out."""
    hours = page.hours and asdict(
        replace(
            page.hours,
            alone=[replace(one, text=None) for one in page.hours.alone],
            together=[[replace(one, text=None) for one in attempts] for attempts in page.hours.together],
        )
    )
    document = {
        "request_s": page.request_s,
        "capacity": page.capacity,
        "crowds": [asdict(one) for one in page.gatherings],
        "hours": hours,
        "verdicts": [{**asdict(verdict), "passed": verdict.passed} for verdict in page.verdicts],
    }
    return json.dumps(document, indent=1) + "\n"


def as_markdown(page: Page) -> str:
    """The page."""
    verdicts = page.verdicts
    met = sum(verdict.passed for verdict in verdicts)
    sections = [
        f"A request alone took {page.request_s:.3g} s, the capacity is {page.capacity:.3g} requests/s. "
        f"**{met} of {len(verdicts)} criteria are met.**",
        _crowds(page.gatherings) if page.gatherings else "",
        _hours(page.hours) if page.hours else "",
        _verdicts(verdicts),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _crowds(gatherings: Iterable[Gathering]) -> str:
    head = (
        "| clients | attempts by status and code | answers/s | high: p50 / p95 s | normal: p50 / p95 s "
        "| came back as told, got in | breaker openings |"
    )
    return "\n".join(["## Crowds", "", head, "| --- " * 7 + "|", *map(_crowd, gatherings)])


def _crowd(one: Gathering) -> str:
    high, normal = (" / ".join(_s(one.percentile_s(percent, kind)) for percent in (50, 95)) for kind in PRIORITIES)
    returned, let_in = returns(one)
    rate = f"{one.answers_per_s:.3g}"
    cells = (one.clients, _counts(one.attempts), rate, high, normal, f"{returned}, {let_in}", one.openings)
    return f"| {' | '.join(map(str, cells))} |"


def _hours(hours: Hours) -> str:
    times = "was not answered" if hours.real_times is None else f"went at {hours.real_times:.3g} times real time"
    ends = [attempts[-1] for attempts in hours.together]
    beside = [attempt.seconds for attempt in hours.beside if attempt.status == OK]
    return "\n".join(
        [
            "## Hours",
            "",
            f"An upload of {hours.hour_s:.0f} s alone {times} ({_counts(hours.alone)}). {len(ends)} at once: "
            f"{_counts(attempt for attempts in hours.together for attempt in attempts)}; the last one ended after "
            f"{max(attempt.seconds for attempt in ends):.0f} s. Short files beside them: {_counts(hours.beside)}, p50 "
            f"{_s(percentile(beside, 50))} s, p95 {_s(percentile(beside, 95))} s.",
        ]
    )


def _verdicts(verdicts: Iterable[Verdict]) -> str:
    rows = [
        f"| {one.of} | {one.criterion} | {one.bound} {one.limit:g} | {_s(one.value)} | "
        f"{'ok' if one.passed else '**FAILED**'} |"
        for one in verdicts
    ]
    return "\n".join(["## Criteria", "", "| | criterion | limit | measured | |", "| --- " * 5 + "|", *rows])


def _counts(attempts: Iterable[Attempt]) -> str:
    """For example ``40 x 200, 3 x 503 overloaded``."""
    kinds = Counter(f"{attempt.status} {attempt.code}".strip() for attempt in attempts)
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common()) or "none"


def _s(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
