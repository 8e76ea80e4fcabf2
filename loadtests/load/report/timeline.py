"""The plot that every scenario has: load, latency, waiting, slots and stages over time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes

from loadtests.common.replies import FAILED
from loadtests.load.estimates import percentile
from loadtests.load.report.canvas import (
    BINS,
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    PERCENTILES,
    PURPLE,
    RED,
    add_side_legend,
    as_svg,
    make_logarithmic,
    open_figure,
)
from loadtests.load.scenarios.counters import STAGES, busy_share, queue_wait_ms
from loadtests.load.scenarios.recording import Recording, Snapshot

SHOWN_MS = 1.0
"""Shorter waits are drawn as this: the histogram's first bucket ends here."""

BAD = FAILED | {"late", "wrong"}


def over_time(recording: Recording) -> str:
    """Draw requests per second, latency, waits and slots, and stages, over the time of the scenario."""
    panels = (_rates, _latency, _queue_wait, _slots, _stages)
    with open_figure(rows=len(panels), height_in=8.5) as (figure, axes):
        for draw, axis in zip(panels, axes, strict=True):
            draw(axis, recording)
        axes[-1].set(xlabel="time, s", xlim=(0, None))
        for axis in axes:
            _mark_phases(axis, recording)
        return as_svg(figure)


def _rates(axis: Axes, recording: Recording) -> None:
    edges = _edges(recording)
    width = edges[1] - edges[0]
    due = [request.due - recording.began for request in recording.requests]
    axis.stairs(np.histogram(due, edges)[0] / width, edges, color=GREY, label="offered", linewidth=1.5)
    for outcomes, colour, label in ((("right",), GREEN, "answered"), (("refused",), PURPLE, "refused")):
        times = [one.ended - recording.began for one in recording.requests if one.outcome in outcomes]
        if times:
            axis.stairs(np.histogram(times, edges)[0] / width, edges, color=colour, label=label, linewidth=1.5)
    bad = [one.ended - recording.began for one in recording.requests if one.outcome in BAD]
    if bad:
        axis.stairs(np.histogram(bad, edges)[0] / width, edges, color=RED, label="errors", linewidth=1.5)
    axis.set(ylabel="requests/s", ylim=(0, None))
    add_side_legend(axis)


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
    make_logarithmic(axis, axis.yaxis)
    add_side_legend(axis)


def _queue_wait(axis: Axes, recording: Recording) -> None:
    pairs = list(pairwise(_every(recording)))
    times = [after.at - recording.began for _, after in pairs]
    for percent, colour in ((50, BLUE), (99, RED)):
        waits = [queue_wait_ms(before, after, percent) for before, after in pairs]
        shown = [np.nan if wait is None else max(wait, SHOWN_MS) for wait in waits]
        axis.plot(times, shown, color=colour, label=f"p{percent}")
    axis.set(ylabel="queue wait, ms")
    make_logarithmic(axis, axis.yaxis)
    add_side_legend(axis)


def _slots(axis: Axes, recording: Recording) -> None:
    snapshots = _every(recording)
    times = [snapshot.at - recording.began for snapshot in snapshots]
    for series, colour, label in (
        ("amanuensis_slots_in_use", GREEN, "slots in use"),
        ("amanuensis_queue_size", GREY, "requests waiting"),
    ):
        axis.plot(times, [snapshot.metrics[series] for snapshot in snapshots], color=colour, label=label)
    axis.set(ylabel="count", ylim=(0, None))
    add_side_legend(axis)


def _stages(axis: Axes, recording: Recording) -> None:
    pairs = list(pairwise(_every(recording)))
    times = [after.at - recording.began for _, after in pairs]
    for (stage, name), colour in zip(STAGES.items(), COLOURS, strict=False):
        axis.plot(times, [100 * busy_share(before, after, stage) for before, after in pairs], color=colour, label=name)
    axis.set(ylabel="stage busy, %", ylim=(0, None))
    add_side_legend(axis)


def _every(recording: Recording) -> list[Snapshot]:
    """Return the snapshots, thinned out so that a long run has no more points than a plot can show."""
    step = max(1, len(recording.snapshots) // BINS)
    return recording.snapshots[::step]


def _edges(recording: Recording) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the edges of bins of whole seconds."""
    length = max(request.ended for request in recording.requests) - recording.began
    width = max(1.0, np.ceil(length / BINS))
    return np.arange(0.0, length + 2 * width, width)


def _mark_phases(axis: Axes, recording: Recording) -> None:
    began: dict[str, float] = {}
    for request in recording.requests:
        began.setdefault(request.phase, request.due - recording.began)
    for at in list(began.values())[1:]:
        axis.axvline(at, color=GREY, linewidth=0.6, linestyle=":")
