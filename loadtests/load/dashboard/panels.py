"""Drawing the panels of the dashboard from what Prometheus answers to their queries.

This is not Grafana itself: from the dashboard's file it takes each panel's queries, place, unit and legend.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, Formatter, FuncFormatter, PercentFormatter, ScalarFormatter

from loadtests.common.paths import CONFIGS
from loadtests.load.dashboard.prometheus import Labels, Prometheus, with_variables

SCRAPE_S = 5.0
COLUMNS = 24
CELL = (0.6, 0.28)
"""Width and height of one cell of the dashboard's grid, in inches."""
HEADER, FOOTER = 0.4, 0.1
MARGINS = (0.55, 0.2, 0.35, 0.2)
"""Margins of a panel: left, right, top, bottom, in inches."""

Panel = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """The story as it happened: when each chapter began and when all was over, in seconds since the epoch."""

    chapters: list[tuple[float, str]]
    end: float
    capacity: float


def draw(prometheus: Prometheus, told: Told, output: Path) -> None:
    """Draw all panels where the dashboard has them."""
    with mpl.rc_context({"font.size": 8, "axes.grid": True, "grid.alpha": 0.3, "axes.titlesize": 9}):
        _draw(prometheus, told, output)


def _draw(prometheus: Prometheus, told: Told, output: Path) -> None:
    panels: list[Panel] = json.loads((CONFIGS / "grafana" / "dashboard.json").read_text("utf-8"))["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width, height = COLUMNS * CELL[0], rows * CELL[1] + HEADER + FOOTER
    figure = plt.figure(figsize=(width, height))
    figure.text(
        0.5,
        1 - HEADER / height / 2,
        "Panels of configs/grafana/dashboard.json, drawn from Prometheus' answers (not Grafana itself). "
        f"Capacity {told.capacity:.0f} requests/s, {datetime.now(UTC):%Y-%m-%d}. Minutes from left to right.",
        ha="center",
    )
    for panel in panels:
        axes = figure.add_axes(_place(panel["gridPos"], width, height))
        axes.set_title(panel["title"], loc="left", fontweight="bold", pad=10)
        (_draw_stat if panel["type"] == "stat" else _draw_lines)(axes, panel, prometheus, told)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=80)


def _place(cells: dict[str, int], width: float, height: float) -> tuple[float, float, float, float]:
    """Return left, bottom, width and height of a panel's axes, as shares of the figure's size, which is in inches."""
    left, right, top, bottom = MARGINS
    x, y = cells["x"] * CELL[0] + left, HEADER + cells["y"] * CELL[1] + top
    w, h = cells["w"] * CELL[0] - left - right, cells["h"] * CELL[1] - top - bottom
    return x / width, 1 - (y + h) / height, w / width, h / height


def _draw_stat(axes: Axes, panel: Panel, prometheus: Prometheus, told: Told) -> None:
    """Draw the latest value, or its name."""
    (target,) = panel["targets"]
    start = told.chapters[0][0]
    lines = prometheus.between(with_variables(target["expr"], SCRAPE_S), start, told.end, SCRAPE_S)
    latest = max(lines, key=lambda line: line.times[-1])
    value, unit = latest.values[-1], panel["fieldConfig"]["defaults"]["unit"]
    mappings = panel["fieldConfig"]["defaults"].get("mappings", [])
    names = {key: option["text"] for mapping in mappings for key, option in mapping["options"].items()}
    if panel["options"]["textMode"] == "name":
        text = _legend(target["legendFormat"], latest.labels)
    else:
        text = names.get(f"{value:g}") or (f"{value:.2%}" if unit == "percentunit" else f"{value:.1f}")
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=18)
    axes.set_axis_off()


def _draw_lines(axes: Axes, panel: Panel, prometheus: Prometheus, told: Told) -> None:
    start = told.chapters[0][0]
    for target in panel["targets"]:
        query = with_variables(target["expr"], SCRAPE_S)
        for line in prometheus.between(query, start, told.end, SCRAPE_S):
            minutes = [(at - start) / 60 for at in line.times]
            axes.plot(minutes, line.values, linewidth=1.2, label=_legend(target["legendFormat"], line.labels))
    _mark(axes, told)
    axes.set_xlim(0, (told.end - start) / 60)
    axes.set_ylim(0, None if axes.dataLim.ymax > 0 else 1)
    axes.yaxis.set_major_formatter(_formatter(panel["fieldConfig"]["defaults"]["unit"]))
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(loc="best", fontsize=6, ncols=math.ceil(len(handles) / 4), framealpha=0.7)


def _mark(axes: Axes, told: Told) -> None:
    """Mark where each chapter began."""
    for at, name in told.chapters:
        minute = (at - told.chapters[0][0]) / 60
        axes.axvline(minute, color="black", linewidth=0.6, linestyle=":")
        axes.text(minute, 1.0, name, transform=axes.get_xaxis_transform(), fontsize=6, va="bottom")


def _legend(template: str, labels: Labels) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), template)


def _formatter(unit: str) -> Formatter:
    """Return how numbers of a unit are written, for the units that the dashboard uses."""
    if unit == "bytes":
        return FuncFormatter(lambda value, _: f"{value / 2**20:.0f} MiB")
    if unit == "percentunit":
        return PercentFormatter(1.0)
    if unit == "s":
        return EngFormatter(unit="s")
    return ScalarFormatter()
