"""How plots look: colours, axes, and SVG that takes the page's text colour."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

WIDTH_IN = 9.0
INK = "#0a0b0c"
"""Stands for the page's text colour until the SVG is made."""

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#3b82d6", "#e08a1e", "#2fa36b", "#d9534f", "#9467bd", "#8a8f98"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, "#17a2b8", "#b5892b", GREY, "#c2649a", "#6b8e23")
PERCENTILES = ((50, BLUE), (95, ORANGE), (99, RED))
TICKS: tuple[tuple[float, tuple[float, ...]], ...] = ((2, (1, 2, 5)), (4, (1, 3)), (np.inf, (1,)))
"""Ticks of a logarithmic axis: up to so many decades, these multiples of each power of ten."""

BINS = 90
"""The most points of a curve that a plot can show."""

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


def make_logarithmic(axes: Axes, axis: XAxis | YAxis) -> None:
    """Make an axis logarithmic, with plain numbers, as many as have room."""
    horizontal = axis.axis_name == "x"
    (axes.set_xscale if horizontal else axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    decades = np.log10(high / low) * (2 if horizontal else 1)  # labels side by side need more room
    axis.set_major_locator(LogLocator(subs=next(subs for most, subs in TICKS if decades <= most)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


@contextmanager
def open_figure(*, rows: int = 1, columns: int = 1, height_in: float) -> Iterator[tuple[Figure, list[Axes]]]:
    """Open a figure as wide as the page, with its axes in one list."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex="col" if rows > 1 else False)
    yield figure, list(axes.flat)


def as_svg(figure: Figure) -> str:
    """Return the figure as an SVG element: its ink is the page's text colour, its background the page's."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), svg)
    svg = re.sub(r"\s+", " ", svg)
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', svg, count=1).replace(INK, "currentColor")


def add_side_legend(axis: Axes) -> None:
    """Put the legend to the right of the axes."""
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
