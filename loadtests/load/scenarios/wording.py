"""Figures and verdicts as readers see them, in the terminal and on the page."""

from __future__ import annotations

from loadtests.load.scenarios.judgement import FIGURES
from loadtests.load.scenarios.recording import Verdict

WHOLE_FROM = 100


def measured(verdict: Verdict) -> str:
    """Write what was measured."""
    return quantity(verdict.figure, verdict.value)


def limit(verdict: Verdict) -> str:
    """Write the limit that was to be kept."""
    return f"{verdict.bound} {quantity(verdict.figure, verdict.limit)}"


def quantity(figure: str, value: float | None) -> str:
    """Write a figure's value with its unit."""
    return "not measured" if value is None else f"{number(value)} {FIGURES[figure].unit}".strip()


def number(value: float) -> str:
    """Write a number to three digits, large ones whole."""
    return f"{value:.0f}" if abs(value) >= WHOLE_FROM or value == int(value) else f"{value:.3g}"
