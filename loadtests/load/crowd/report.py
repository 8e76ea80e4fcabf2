"""What a run of the crowd test found, as a page and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace

from loadtests.load.crowd.clients import Visit
from loadtests.load.crowd.judgement import CrowdVerdict, judge_results, returns
from loadtests.load.crowd.results import CrowdResults, Gathering, Hours
from loadtests.load.estimates import percentile

PRIORITIES = ("high", "normal")


def as_json(results: CrowdResults) -> str:
    """Return every visit and verdict; the texts of the hours are left out."""
    hours = results.hours and asdict(
        replace(
            results.hours,
            alone=_without_texts(results.hours.alone),
            together=[_without_texts(visits) for visits in results.hours.together],
        )
    )
    document = {
        "request_s": results.request_s,
        "capacity": results.capacity,
        "crowds": [asdict(one) for one in results.gatherings],
        "hours": hours,
        "verdicts": [{**asdict(verdict), "passed": verdict.passed} for verdict in judge_results(results)],
    }
    return json.dumps(document, indent=1) + "\n"


def as_markdown(results: CrowdResults) -> str:
    """Return the results."""
    verdicts = judge_results(results)
    met = sum(verdict.passed for verdict in verdicts)
    sections = [
        f"A request alone took {results.request_s:.3g} s, the capacity is {results.capacity:.3g} requests/s. "
        f"**{met} of {len(verdicts)} criteria are met.**",
        _crowds(results.gatherings) if results.gatherings else "",
        _hours(results.hours) if results.hours else "",
        _verdicts(verdicts),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _without_texts(visits: Iterable[Visit]) -> list[Visit]:
    return [replace(visit, reply=replace(visit.reply, text=None)) for visit in visits]


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
    cells = (one.clients, _counts(one.visits), rate, high, normal, f"{returned}, {let_in}", one.openings)
    return f"| {' | '.join(map(str, cells))} |"


def _hours(hours: Hours) -> str:
    times = "was not answered" if hours.real_times is None else f"went at {hours.real_times:.3g} times real time"
    ends = [visits[-1] for visits in hours.together]
    beside = [visit.seconds for visit in hours.beside if visit.reply.text is not None]
    return "\n".join(
        [
            "## Hours",
            "",
            f"An upload of {hours.hour_s:.0f} s alone {times} ({_counts(hours.alone)}). {len(ends)} at once: "
            f"{_counts(visit for visits in hours.together for visit in visits)}; the last one ended after "
            f"{max(visit.seconds for visit in ends):.0f} s. Short files beside them: {_counts(hours.beside)}, p50 "
            f"{_s(percentile(beside, 50))} s, p95 {_s(percentile(beside, 95))} s.",
        ]
    )


def _verdicts(verdicts: Iterable[CrowdVerdict]) -> str:
    rows = [
        f"| {one.of} | {one.criterion} | {one.bound} {one.limit:g} | {_s(one.value)} | "
        f"{'ok' if one.passed else '**FAILED**'} |"
        for one in verdicts
    ]
    return "\n".join(["## Criteria", "", "| | criterion | limit | measured | |", "| --- " * 5 + "|", *rows])


def _counts(visits: Iterable[Visit]) -> str:
    """Count answers by status and code, for example ``40 x 200, 3 x 503 overloaded``."""
    kinds = Counter(f"{visit.reply.status} {visit.reply.code}".strip() for visit in visits)
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common()) or "none"


def _s(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
