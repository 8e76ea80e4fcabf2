"""The page: a summary, verdicts, and what each scenario looked like. One file, nothing to load."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from loadtests.load.report import plots, sentences
from loadtests.load.report.run import JudgedScenario, RecordedRun
from loadtests.load.report.timeline import over_time
from loadtests.load.scenarios.judgement import FIGURES
from loadtests.load.scenarios.wording import limit, measured, number

OVERVIEW = (
    "answered", "refused", "p50_ms", "p95_ms", "p99_ms", "queue_wait_p50_ms", "queue_wait_p99_ms", "hit_ratio",
    "encoder_batch", "cpu_ms",
)  # fmt: skip
COMPARED = ("p50_ms", "p95_ms", "p99_ms", "queue_wait_p99_ms", "encoder_batch", "cpu_ms")
COMPARED_OF = {
    "ramp": ("capacity", "cpu_ms"),
    "overload": ("goodput_ratio", "refusal_p50_ms", "p99_ms"),
    "soak": (*COMPARED, "memory_slope"),
}
"""Percentiles over all of a ramp or an overload say little, because each holds several loads."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2127; --soft: #5d6672; --line: #d8dde3; --back: #ffffff; --panel: #f6f8fa;
  --good: #1a7f4b; --bad: #c0322b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dde3ea; --soft: #98a3b0; --line: #343b44; --back: #15181c; --panel: #1d2126; --good: #45c486;
    --bad: #ff7b72; } }
body { font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink);
  background: var(--back); max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.25rem; margin: 2.6rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); } .summary { background: var(--panel); border-left: 4px solid
  var(--good); padding: .8rem 1.1rem; border-radius: 4px; margin: 1.2rem 0; }
.summary.failed { border-color: var(--bad); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .87rem; margin: .8rem 0; }
th, td { text-align: right; padding: .3rem .55rem; border-bottom: 1px solid var(--line); vertical-align: top;
  font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; } th.text, td.text { text-align: left; }
.ok { color: var(--good); } .failed-mark { color: var(--bad); } .ok, .failed-mark { font-weight: 600;
  white-space: nowrap; } a { color: inherit; }
figure { margin: .8rem 0 1.4rem; } figcaption { color: var(--soft); font-size: .9rem; margin-bottom: .3rem; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif !important; }
"""


def page(run: RecordedRun, other: RecordedRun | None = None) -> str:
    """Return the whole document; with another run also what differs."""
    passed = all(one.passed for one in run.scenarios)
    parts = [
        "<h1>Load tests of Amanuensis</h1>",
        f'<p class="soft">{escape(_facts(run))}</p>',
        f'<div class="summary{"" if passed else " failed"}">{escape(sentences.summary(run))}</div>',
        _overview(run),
        _comparison(run, other) if other else "",
        *map(_scenario, run.scenarios),
        _cpu(run),
        _method(run),
    ]
    body = "\n".join(filter(None, parts))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Load tests</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _facts(run: RecordedRun) -> str:
    about = run.manifest
    changed = f" with {about['changed_files']} changed files" if about["changed_files"] else ""
    return (
        f"Run {run.name}, {about['edition']} edition, {about['made']}, commit {about['commit']}{changed}; "
        f"model {about['model']}, {about['speech']} speech; "
        f"{about['cores']} cores ({about['cpu']}), {about['memory_gib']:g} GiB, shared with the load generator."
    )


def _overview(run: RecordedRun) -> str:
    head = ["scenario", "", *(FIGURES[name].label + _in(FIGURES[name].unit) for name in OVERVIEW)]
    rows = [
        [
            f'<a href="#{one.name}">{one.name}</a>',
            _mark(passed=one.passed),
            *(_number(one.figure(name)) for name in OVERVIEW),
        ]
        for one in run.scenarios
    ]
    return "<h2>At a glance</h2>" + _table(head, rows, texts=2)


def _scenario(one: JudgedScenario) -> str:
    scenario = one.recording.scenario
    parts = [
        f'<h2 id="{one.name}">{one.name.capitalize()} {_mark(passed=one.passed)}</h2>',
        f"<p>{escape(scenario.question)} <b>{escape(sentences.result(one))}</b></p>",
        f'<p class="soft">Offered: {sentences.offered(scenario)}, with a deadline of {scenario.deadline_s:.3g} s. '
        f"{sentences.calibrated(one.recording.calibration)}</p>",
        _verdicts(one),
        _unanswered(one),
        *_own_plots(one),
        _plot(
            over_time(one.recording),
            "Over time. Top: a healthy service's answers follow the offered load; a gap between them is work that "
            "piles up. Below it the latency of right answers, the wait for a slot, what is in flight and what waits, "
            "and how busy each stage was: 100% is one worker always, waiting for a core included (MelPreprocessor "
            "has two unless told otherwise). Dotted lines: a new phase begins.",
        ),
    ]
    return "\n".join(filter(None, parts))


def _unanswered(one: JudgedScenario) -> str:
    others = sentences.unanswered(one)
    return f'<p class="soft">Instead of right texts: {escape(others)}.</p>' if others else ""


def _own_plots(one: JudgedScenario) -> list[str]:
    recording = one.recording
    if one.name == "ramp":
        text = (
            "Left: answers follow the diagonal up to the capacity, then bend away from it. Right: latency stays low "
            "until then, and rises steeply beyond."
        )
        return [_plot(plots.ramp(recording), text)]
    if one.name == "mixed":
        text = (
            "Latency by what was sent (number of answers in brackets). Short files should be quick whatever else is "
            "under way, and those of high priority the quickest; points in a row are p50, p95 and p99."
        )
        return [_plot(plots.by_class(recording), text)]
    if one.name == "overload":
        text = (
            "While overloaded. Left: high priority should be answered mostly, low priority refused mostly. Right: "
            "answers lie left of the deadline; the further left the refusals, the sooner clients can go elsewhere."
        )
        return [_plot(plots.refusals(recording), text)]
    if one.name == "soak" and any(snapshot.memory_mib for snapshot in recording.snapshots):
        text = (
            "Memory of all processes, shared pages counted once. The dashed trend should be level; it leaves out "
            f"the first {recording.scenario.warm_up_s:g} s."
        )
        return [_plot(plots.memory(recording), text)]
    return []


def _verdicts(one: JudgedScenario) -> str:
    rows = [
        [
            escape(FIGURES[verdict.figure].label),
            limit(verdict),
            measured(verdict),
            _mark(passed=verdict.passed),
        ]
        for verdict in one.verdicts
    ]
    return _table(["criterion", "limit", "measured", ""], rows, texts=1)


def _cpu(run: RecordedRun) -> str:
    recordings = [one.recording for one in run.scenarios]
    if not any(snapshot.cpu_s for recording in recordings for snapshot in recording.snapshots):
        return ""
    text = (
        "CPU by process, over each scenario. When the bars reach the number of cores, the machine is full, and what "
        "the load generator takes is missing from the service."
    )
    return "<h2>Where the CPU goes</h2>" + _plot(plots.cpu(recordings), text)


def _comparison(run: RecordedRun, other: RecordedRun) -> str:
    pairs = [(one, match) for one in run.scenarios if (match := other.find(one.name))]
    rows = [
        [
            one.name,
            escape(FIGURES[name].label + _in(FIGURES[name].unit)),
            *_compared(one.figure(name), match.figure(name)),
        ]
        for one, match in pairs
        for name in COMPARED_OF.get(one.name, COMPARED)
        if one.figure(name) is not None or match.figure(name) is not None
    ]
    head = ["scenario", "figure", f"this run ({escape(run.name)})", f"other run ({escape(other.name)})", "ratio"]
    text = (
        f"<p>The other run: {escape(_facts(other))} A ratio is this run's figure over the other's. Where the machines "
        "or their load differ, so do the figures: only runs made in turns on one machine compare versions.</p>"
    )
    return f"<h2>Compared with {escape(other.name)}</h2>{text}" + _table(head, rows, texts=2)


def _compared(mine: float | None, theirs: float | None) -> list[str]:
    ratio = f"{mine / theirs:.2f}" if mine is not None and theirs else "-"
    return [_number(mine), _number(theirs), ratio]


def _method(run: RecordedRun) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in run.manifest["versions"].items())
    return (
        "<h2>How it was measured</h2><p>Requests arrive at fixed rates whether or not earlier ones are answered (an "
        "open loop), from locust in a process of its own on the same machine; how late it sent them is a criterion, so "
        "a generator that falls behind fails the scenario. Latency runs from sending to the last byte of the answer. "
        "Every text is compared with what the service said of the same audio alone, before the load. Queue wait, "
        "slots, stages and batches come from the service's <code>/metrics</code> once a second, the percentiles of the "
        "wait from its histogram; below 1 ms they are shown as 1 ms. CPU and memory are those of the service's "
        "processes; memory is the proportional set size, which falls when another program begins to share their pages. "
        "The memory slope is a least-squares line through the means of ten equal stretches of time, with its 95% "
        f"confidence interval.</p><p class='soft'>Python {run.manifest['python']}, {versions}.</p>"
    )


def _plot(svg: str, text: str) -> str:
    return f"<figure><figcaption>{escape(text)}</figcaption>\n{svg}</figure>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int) -> str:
    """Return a table whose first ``texts`` columns are text, the others numbers. Cells are HTML."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = [' class="text"' if place < texts else "" for place in range(len(cells))]
        return (
            "<tr>" + "".join(f"<{tag}{kind}>{cell}</{tag}>" for kind, cell in zip(kinds, cells, strict=True)) + "</tr>"
        )

    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table>\n{line(head, "th")}\n{body}\n</table></div>'


def _mark(*, passed: bool) -> str:
    return '<span class="ok">met</span>' if passed else '<span class="failed-mark">not met</span>'


def _number(value: float | None) -> str:
    return "-" if value is None else number(value)


def _in(unit: str) -> str:
    return f", {unit}" if unit else ""
