"""The plot beside the page: a row per category, a point with its interval per contender."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from loadtests.benchmarks.accuracy.bootstrap import Estimate
from loadtests.benchmarks.accuracy.groups import Group

WIDTH_IN, ROW_IN, MARGIN_IN = 8.0, 0.55, 1.2
SPREAD = 0.6
"""The share of a row's height that its points take."""
MARKERS = "osD^vP"
DPI = 110


def write_plot(groups: Sequence[Group], names: Sequence[str], path: Path) -> None:
    """Draw the error rates of the named contenders, in percent."""
    figure = Figure(figsize=(WIDTH_IN, MARGIN_IN + ROW_IN * len(groups)), layout="constrained")
    axes = figure.add_subplot()
    for index, name in enumerate(names):
        offset = SPREAD * ((index + 0.5) / len(names) - 0.5)
        rates = [group.rates[name] for group in groups]
        axes.errorbar(
            [100 * rate.value for rate in rates],
            [row + offset for row in range(len(groups))],
            xerr=[[_below(rate) for rate in rates], [_above(rate) for rate in rates]],
            fmt=MARKERS[index % len(MARKERS)],
            markersize=5,
            capsize=2,
            label=name,
        )
    axes.set_yticks(range(len(groups)), [f"{group.label}\n{group.measure}, n = {group.files}" for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("error rate %, with its 95% interval")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=DPI)


def _below(rate: Estimate) -> float:
    return 0.0 if rate.low is None else 100 * max(0.0, rate.value - rate.low)


def _above(rate: Estimate) -> float:
    return 0.0 if rate.high is None else 100 * max(0.0, rate.high - rate.value)
