"""The plots that belong to one kind of scenario, and the CPU of all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from loadtests.common.replies import FAILED, Outcome
from loadtests.load.estimates import percentile, slope
from loadtests.load.report.canvas import (
    BINS,
    COLOURS,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PERCENTILES,
    PURPLE,
    RED,
    as_svg,
    make_logarithmic,
    open_figure,
)
from loadtests.load.scenarios.counters import cores_used, memory_series
from loadtests.load.scenarios.phases import answered_ms, played_phases
from loadtests.load.scenarios.recording import Recording, RequestRow

OUTCOMES: tuple[tuple[str, Collection[Outcome], str], ...] = (
    ("right", {"right"}, GREEN),
    ("refused", {"refused"}, GREY),
    ("late", {"late"}, ORANGE),
    ("error", FAILED, RED),
    ("wrong", {"wrong"}, PURPLE),
)


def ramp(recording: Recording) -> str:
    """Draw throughput and latency against the offered load."""
    found = played_phases(recording)
    offered = [step.offered for step in found]
    held = [step.offered for step in found if step.held]
    with open_figure(columns=2, height_in=3.4) as (figure, axes):
        axes[0].plot(offered, offered, color=GREY, linestyle=":", label="offered")
        axes[0].plot(offered, [step.answered for step in found], color=GREEN, marker="o", label="answered in the step")
        axes[0].set(xlabel="offered, requests/s", ylabel="requests/s", ylim=(0, None))
        for percent, colour in PERCENTILES:
            values = [getattr(step, f"p{percent}_ms") or np.nan for step in found]
            axes[1].plot(offered, values, color=colour, marker="o", label=f"p{percent}")
        axes[1].set(xlabel="offered, requests/s", ylabel="latency, ms")
        make_logarithmic(axes[1], axes[1].yaxis)
        if recording.scenario.step_limit:
            limit = 1000 * recording.calibration.request_s * recording.scenario.step_limit.p95_ratio
            axes[1].axhline(limit, color=ORANGE, linewidth=0.8, linestyle="--", label=f"limit of p95: {limit:g} ms")
        for axis in axes:
            if held:
                axis.axvline(max(held), color=GREEN, linewidth=0.8, linestyle="--", label=f"served {max(held):.3g}/s")
            axis.legend(fontsize=8)
        return as_svg(figure)


def by_class(recording: Recording) -> str:
    """Draw the latency of each size of file and of each priority: p50, p95 and p99."""
    groups: list[tuple[str, Callable[[RequestRow], bool]]] = [
        *((size, lambda one, size=size: one.size == size) for size in ("short", "long", "minutes")),
        ("short, streamed", lambda one: one.size == "short" and one.kind == "stream"),
        *(
            (f"short, {priority}", lambda one, priority=priority: (one.size, one.priority) == ("short", priority))
            for priority in ("high", "normal", "low")
        ),
    ]
    rows = [(name, answered_ms(filter(chosen, recording.requests))) for name, chosen in groups]
    rows = [(f"{name} ({len(times)})", times) for name, times in rows if times][::-1]
    with open_figure(height_in=0.6 + 0.36 * len(rows)) as (figure, axes):
        for percent, colour in PERCENTILES:
            values = [percentile(times, percent) or np.nan for _, times in rows]
            axes[0].scatter(values, range(len(rows)), color=colour, label=f"p{percent}", zorder=3)
        for place, (_, times) in enumerate(rows):
            ends = [percentile(times, percent) or np.nan for percent in (50, 99)]
            axes[0].plot(ends, [place, place], color=GREY, linewidth=1, zorder=2)
        axes[0].set(xlabel="latency, ms", ylim=(-0.6, len(rows) - 0.4))
        axes[0].set_yticks(range(len(rows)), [name for name, _ in rows])
        make_logarithmic(axes[0], axes[0].xaxis)
        axes[0].legend(ncols=3, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return as_svg(figure)


def refusals(recording: Recording) -> str:
    """Draw what became of each priority, and how soon a refusal was known."""
    busiest = max(recording.scenario.phases, key=lambda phase: phase.rate)
    requests = [request for request in recording.requests if request.phase == busiest.name]
    with open_figure(columns=2, height_in=3.0) as (figure, axes):
        names = ("high", "normal", "low")
        left = np.zeros(len(names))
        for label, outcomes, colour in OUTCOMES:
            counts = [sum(one.priority == name and one.outcome in outcomes for one in requests) for name in names]
            if any(counts):
                axes[0].bar(names, counts, bottom=left, color=colour, label=label, width=0.6)
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
        make_logarithmic(axes[1], axes[1].xaxis)
        axes[1].legend(fontsize=8)
        return as_svg(figure)


def memory(recording: Recording) -> str:
    """Draw the memory of all processes by role, over time, with the trend of the sum."""
    snapshots = [snapshot for snapshot in recording.snapshots if snapshot.memory_mib]
    times = [snapshot.at - recording.began for snapshot in snapshots]
    last = snapshots[-1].memory_mib
    roles = sorted(last, key=lambda role: last[role], reverse=True)
    with open_figure(height_in=3.8) as (figure, axes):
        values = [[snapshot.memory_mib.get(role, 0.0) for snapshot in snapshots] for role in roles]
        axes[0].stackplot(times, values, labels=roles, colors=COLOURS, alpha=0.85, linewidth=0)
        after, total = memory_series(recording)
        trend = slope(after, total)
        if trend:
            line = np.mean(total) + trend.value * (np.array(after) - np.mean(after))
            axes[0].plot(after, line, color=INK, linewidth=1, linestyle="--", label="trend")
        axes[0].set(xlabel="time, s", ylabel="memory (PSS), MiB", xlim=(0, None))
        axes[0].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)
        return as_svg(figure)


def cpu(recordings: Sequence[Recording]) -> str:
    """Draw the CPU cores in use by role, a bar per scenario."""
    used = {one.scenario.name: cores_used(one.snapshots[0], one.snapshots[-1]) for one in recordings if one.snapshots}
    roles = sorted({role for shares in used.values() for role in shares}, key=lambda role: -_most(used.values(), role))
    with open_figure(height_in=0.8 + 0.4 * len(used)) as (figure, axes):
        left = np.zeros(len(used))
        names = list(used)[::-1]
        for number, role in enumerate(roles):
            shares = np.array([used[name].get(role, 0.0) for name in names])
            axes[0].barh(names, shares, left=left, color=COLOURS[number % len(COLOURS)], label=role, height=0.65)
            left += shares
        axes[0].set(xlabel="CPU cores in use, mean of the scenario")
        axes[0].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return as_svg(figure)


def _most(used: Iterable[Mapping[str, float]], role: str) -> float:
    return max(shares.get(role, 0.0) for shares in used)


def _thinned(xs: list[float], ys: list[float]) -> tuple[list[float], list[float]]:
    step = max(1, len(xs) // (2 * BINS))
    return [*xs[::step], xs[-1]], [*ys[::step], ys[-1]]
