"""Tables of a page in Markdown, and rates with their intervals in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loadtests.benchmarks.accuracy.bootstrap import Estimate


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows)]


def percent(rate: Estimate) -> str:
    """Write a rate in percent, with its interval where it has one."""
    value = f"{100 * rate.value:.1f}"
    return value if rate.low is None or rate.high is None else f"{value} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
