"""The plots, as SVG that takes the page's text colour."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from loadtests.load.scenarios.estimates import percentile, slope
from loadtests.load.scenarios.figures import (
    STAGES,
    answered_ms,
    busy_share,
    cores_used,
    memory_series,
    queue_wait_ms,
    steps,
)
from loadtests.load.scenarios.recording import Recording, Request, Sample

WIDTH_IN = 9.0
INK = "#0a0b0c"
"""Stands for the page's text colour until the SVG is made."""

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#3b82d6", "#e08a1e", "#2fa36b", "#d9534f", "#9467bd", "#8a8f98"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, "#17a2b8", "#b5892b", GREY, "#c2649a", "#6b8e23")
PERCENTILES = ((50, BLUE), (95, ORANGE), (99, RED))
TICKS: tuple[tuple[float, tuple[float, ...]], ...] = ((2, (1, 2, 5)), (4, (1, 3)), (np.inf, (1,)))
"""Of a logarithmic axis: up to so many decades, these multiples of each power of ten."""

BINS = 90
SHOWN_MS = 1.0
"""Shorter waits are drawn as this: the histogram's first bucket ends here."""

mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "load tests",
        "font.size": 9,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GREY,
        "grid.alpha": 0.25,
        "grid.linewidth": 0.6,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
        "lines.linewidth": 1.5,
        "path.simplify": True,
    }
)


def over_time(recording: Recording) -> str:
    """Requests a second, latency, wait and slots, stages, over the time of the scenario."""
    panels = (_rates, _latency, _queue_wait, _slots, _stages)
    with _figure(rows=len(panels), height_in=8.5) as (figure, axes):
        for draw, axis in zip(panels, axes, strict=True):
            draw(axis, recording)
        axes[-1].set(xlabel="time, s", xlim=(0, None))
        for axis in axes:
            _mark_phases(axis, recording)
        return _svg(figure)


def ramp(recording: Recording) -> str:
    """Throughput and latency against the offered load."""
    found = steps(recording)
    offered = [step.offered for step in found]
    held = [step.offered for step in found if step.held]
    with _figure(columns=2, height_in=3.4) as (figure, axes):
        axes[0].plot(offered, offered, color=GREY, linestyle=":", label="offered")
        axes[0].plot(offered, [step.answered for step in found], color=GREEN, marker="o", label="answered in the step")
        axes[0].set(xlabel="offered, requests/s", ylabel="requests/s", ylim=(0, None))
        for percent, colour in PERCENTILES:
            values = [getattr(step, f"p{percent}_ms") or np.nan for step in found]
            axes[1].plot(offered, values, color=colour, marker="o", label=f"p{percent}")
        axes[1].set(xlabel="offered, requests/s", ylabel="latency, ms")
        _logarithmic(axes[1], axes[1].yaxis)
        if recording.scenario.step_limit:
            limit = 1000 * recording.calibration.request_s * recording.scenario.step_limit.p95_ratio
            axes[1].axhline(limit, color=ORANGE, linewidth=0.8, linestyle="--", label=f"limit of p95: {limit:g} ms")
        for axis in axes:
            if held:
                axis.axvline(max(held), color=GREEN, linewidth=0.8, linestyle="--", label=f"served {max(held):.3g}/s")
            axis.legend(fontsize=8)
        return _svg(figure)


def by_class(recording: Recording) -> str:
    """Latency of each size of file and of each priority: p50, p95 and p99."""
    groups: list[tuple[str, Callable[[Request], bool]]] = [
        *((size, lambda one, size=size: one.size == size) for size in ("short", "long", "minutes")),
        ("short, streamed", lambda one: one.size == "short" and one.kind == "stream"),
        *(
            (f"short, {priority}", lambda one, priority=priority: (one.size, one.priority) == ("short", priority))
            for priority in ("high", "normal", "low")
        ),
    ]
    rows = [(name, answered_ms(filter(chosen, recording.requests))) for name, chosen in groups]
    rows = [(f"{name} ({len(times)})", times) for name, times in rows if times][::-1]
    with _figure(height_in=0.6 + 0.36 * len(rows)) as (figure, axes):
        for percent, colour in PERCENTILES:
            values = [percentile(times, percent) or np.nan for _, times in rows]
            axes[0].scatter(values, range(len(rows)), color=colour, label=f"p{percent}", zorder=3)
        for place, (_, times) in enumerate(rows):
            ends = [percentile(times, percent) or np.nan for percent in (50, 99)]
            axes[0].plot(ends, [place, place], color=GREY, linewidth=1, zorder=2)
        axes[0].set(xlabel="latency, ms", ylim=(-0.6, len(rows) - 0.4))
        axes[0].set_yticks(range(len(rows)), [name for name, _ in rows])
        _logarithmic(axes[0], axes[0].xaxis)
        axes[0].legend(ncols=3, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return _svg(figure)


def refusals(recording: Recording) -> str:
    """What became of each priority, and how soon a refusal was known."""
    busiest = max(recording.scenario.phases, key=lambda phase: phase.rate)
    requests = [request for request in recording.requests if request.phase == busiest.name]
    with _figure(columns=2, height_in=3.0) as (figure, axes):
        names = ("high", "normal", "low")
        left = np.zeros(len(names))
        for outcome, colour in (
            ("right", GREEN),
            ("refused", GREY),
            ("late", ORANGE),
            ("error", RED),
            ("wrong", PURPLE),
        ):
            counts = [sum((one.priority, one.outcome) == (name, outcome) for one in requests) for name in names]
            if any(counts):
                axes[0].bar(names, counts, bottom=left, color=colour, label=outcome, width=0.6)
                left += counts
        axes[0].set(ylabel="requests", xlabel="priority")
        axes[0].legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        for outcome, colour, label in (("right", GREEN, "right answers"), ("refused", GREY, "refusals")):
            times = sorted(1000 * one.seconds for one in requests if one.outcome == outcome)
            if times:
                shares = 100 * np.arange(1, len(times) + 1) / len(times)
                axes[1].plot(*_thinned(times, list(shares)), color=colour, label=label)
        deadline_ms = 1000 * recording.scenario.deadline_s
        axes[1].axvline(deadline_ms, color=ORANGE, linestyle="--", linewidth=0.8, label="deadline")
        axes[1].set(xlabel="known after, ms", ylabel="share of them, %", ylim=(0, 101))
        _logarithmic(axes[1], axes[1].xaxis)
        axes[1].legend(fontsize=8)
        return _svg(figure)


def memory(recording: Recording) -> str:
    """Memory of all processes by role, over time, with the trend of the sum."""
    samples = [sample for sample in recording.samples if sample.memory_mib]
    times = [sample.at - recording.began for sample in samples]
    last = samples[-1].memory_mib
    roles = sorted(last, key=lambda role: last[role], reverse=True)
    with _figure(height_in=3.8) as (figure, axes):
        values = [[sample.memory_mib.get(role, 0.0) for sample in samples] for role in roles]
        axes[0].stackplot(times, values, labels=roles, colors=COLOURS, alpha=0.85, linewidth=0)
        after, total = memory_series(recording)
        trend = slope(after, total)
        if trend:
            line = np.mean(total) + trend.value * (np.array(after) - np.mean(after))
            axes[0].plot(after, line, color=INK, linewidth=1, linestyle="--", label="trend")
        axes[0].set(xlabel="time, s", ylabel="memory (PSS), MiB", xlim=(0, None))
        axes[0].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)
        return _svg(figure)


def cpu(recordings: Sequence[Recording]) -> str:
    """CPU cores in use by role, a bar a scenario."""
    used = {one.scenario.name: cores_used(one.samples[0], one.samples[-1]) for one in recordings if one.samples}
    roles = sorted({role for shares in used.values() for role in shares}, key=lambda role: -_most(used.values(), role))
    with _figure(height_in=0.8 + 0.4 * len(used)) as (figure, axes):
        left = np.zeros(len(used))
        names = list(used)[::-1]
        for number, role in enumerate(roles):
            shares = np.array([used[name].get(role, 0.0) for name in names])
            axes[0].barh(names, shares, left=left, color=COLOURS[number % len(COLOURS)], label=role, height=0.65)
            left += shares
        axes[0].set(xlabel="CPU cores in use, mean of the scenario")
        axes[0].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _svg(figure)


def _most(used: Iterable[Mapping[str, float]], role: str) -> float:
    return max(shares.get(role, 0.0) for shares in used)


def _rates(axis: Axes, recording: Recording) -> None:
    edges = _edges(recording)
    width = edges[1] - edges[0]
    due = [request.due - recording.began for request in recording.requests]
    axis.stairs(np.histogram(due, edges)[0] / width, edges, color=GREY, label="offered", linewidth=1.5)
    for outcomes, colour, label in ((("right",), GREEN, "answered"), (("refused",), PURPLE, "refused")):
        times = [one.ended - recording.began for one in recording.requests if one.outcome in outcomes]
        if times:
            axis.stairs(np.histogram(times, edges)[0] / width, edges, color=colour, label=label, linewidth=1.5)
    bad = [one.ended - recording.began for one in recording.requests if one.outcome in {"error", "late", "wrong"}]
    if bad:
        axis.stairs(np.histogram(bad, edges)[0] / width, edges, color=RED, label="errors", linewidth=1.5)
    axis.set(ylabel="requests/s", ylim=(0, None))
    _legend(axis)


def _latency(axis: Axes, recording: Recording) -> None:
    edges = _edges(recording)
    bins: list[list[float]] = [[] for _ in edges[1:]]
    for request in recording.requests:
        place = int(np.searchsorted(edges, request.due - recording.began, side="right")) - 1
        if request.outcome == "right" and place < len(bins):
            bins[place].append(1000 * request.seconds)
    middles = (edges[1:] + edges[:-1]) / 2
    for percent, colour in PERCENTILES:
        axis.plot(middles, [percentile(times, percent) or np.nan for times in bins], color=colour, label=f"p{percent}")
    axis.set(ylabel="latency, ms")
    _logarithmic(axis, axis.yaxis)
    _legend(axis)


def _queue_wait(axis: Axes, recording: Recording) -> None:
    pairs = list(pairwise(_every(recording)))
    times = [after.at - recording.began for _, after in pairs]
    for percent, colour in ((50, BLUE), (99, RED)):
        waits = [queue_wait_ms(before, after, percent) for before, after in pairs]
        shown = [np.nan if wait is None else max(wait, SHOWN_MS) for wait in waits]
        axis.plot(times, shown, color=colour, label=f"p{percent}")
    axis.set(ylabel="queue wait, ms")
    _logarithmic(axis, axis.yaxis)
    _legend(axis)


def _slots(axis: Axes, recording: Recording) -> None:
    samples = _every(recording)
    times = [sample.at - recording.began for sample in samples]
    for series, colour, label in (
        ("amanuensis_slots_in_use", GREEN, "slots in use"),
        ("amanuensis_queue_size", GREY, "requests waiting"),
    ):
        axis.plot(times, [sample.metrics[series] for sample in samples], color=colour, label=label)
    axis.set(ylabel="count", ylim=(0, None))
    _legend(axis)


def _stages(axis: Axes, recording: Recording) -> None:
    pairs = list(pairwise(_every(recording)))
    times = [after.at - recording.began for _, after in pairs]
    for (stage, name), colour in zip(STAGES.items(), COLOURS, strict=False):
        axis.plot(times, [100 * busy_share(before, after, stage) for before, after in pairs], color=colour, label=name)
    axis.set(ylabel="stage busy, %", ylim=(0, None))
    _legend(axis)


def _legend(axis: Axes) -> None:
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _every(recording: Recording) -> list[Sample]:
    """Samples, thinned out so that a long run has no more points than a plot can show."""
    step = max(1, len(recording.samples) // BINS)
    return recording.samples[::step]


def _edges(recording: Recording) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Bins of whole seconds."""
    length = max(request.ended for request in recording.requests) - recording.began
    width = max(1.0, np.ceil(length / BINS))
    return np.arange(0.0, length + 2 * width, width)


def _mark_phases(axis: Axes, recording: Recording) -> None:
    began: dict[str, float] = {}
    for request in recording.requests:
        began.setdefault(request.phase, request.due - recording.began)
    for at in list(began.values())[1:]:
        axis.axvline(at, color=GREY, linewidth=0.6, linestyle=":")


def _thinned(xs: list[float], ys: list[float]) -> tuple[list[float], list[float]]:
    step = max(1, len(xs) // (2 * BINS))
    return [*xs[::step], xs[-1]], [*ys[::step], ys[-1]]


def _logarithmic(axes: Axes, axis: XAxis | YAxis) -> None:
    """With plain numbers, as many as have room."""
    horizontal = axis.axis_name == "x"
    (axes.set_xscale if horizontal else axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    decades = np.log10(high / low) * (2 if horizontal else 1)  # labels side by side need more room
    axis.set_major_locator(LogLocator(subs=next(subs for most, subs in TICKS if decades <= most)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


@contextmanager
def _figure(*, rows: int = 1, columns: int = 1, height_in: float) -> Iterator[tuple[Figure, list[Axes]]]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex="col" if rows > 1 else False)
    yield figure, list(axes.flat)


def _svg(figure: Figure) -> str:
    """The figure as an SVG element, its ink the page's text colour and its background the page's."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), svg)
    svg = re.sub(r"\s+", " ", svg)
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', svg, count=1).replace(INK, "currentColor")
