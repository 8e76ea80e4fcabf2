"""Percentiles and slopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

BLOCKS = 10
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Slope:
    """A trend with the bounds of its 95% confidence interval, in units per second."""

    value: float
    lower: float
    upper: float


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile; None if there are no values."""
    return float(np.percentile(values, percent)) if values else None


def histogram_percentile(bounds: Sequence[float], cumulative: Sequence[float], percent: float) -> float | None:
    """Estimate a percentile as Prometheus' ``histogram_quantile`` does; None if the histogram is empty.

    It is linear within a bucket, and the last finite bound beyond all of them.

    Args:
        bounds: upper bounds of the buckets, ascending, the last one infinite.
        cumulative: how many values were at most as large as each bound.
    """
    if not cumulative or cumulative[-1] <= 0:
        return None
    rank = cumulative[-1] * percent / 100
    bucket = next(index for index, count in enumerate(cumulative) if count >= rank)
    if bucket == len(bounds) - 1:
        return bounds[-2]
    lower, below = (bounds[bucket - 1], cumulative[bucket - 1]) if bucket else (0.0, 0.0)
    inside = cumulative[bucket] - below
    return lower + (bounds[bucket] - lower) * ((rank - below) / inside if inside else 1.0)


def slope(times: Sequence[float], values: Sequence[float]) -> Slope | None:
    """Fit the least-squares trend of the means of ten consecutive blocks; None if there are less than ten values.

    Neighbouring samples of memory depend on each other, which would make an interval over all of them far too
    narrow; the means of blocks hardly do.
    """
    if len(times) < BLOCKS:
        return None
    x, y = ([float(np.mean(block)) for block in np.array_split(axis, BLOCKS)] for axis in (times, values))
    fit = stats.linregress(x, y)
    error = fit.stderr if np.ptp(y) else 0.0  # SciPy knows none where all values are equal
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, BLOCKS - 2) * error)
    return Slope(float(fit.slope), float(fit.slope) - margin, float(fit.slope) + margin)
