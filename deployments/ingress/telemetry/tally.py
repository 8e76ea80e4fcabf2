"""What statistics show of instruments: their numbers read back, and what instruments cannot keep."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from prometheus_client import Counter, Histogram

LATEST = 2048
"""Percentiles are over this many latest values."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What histograms hold: how many values, and their sum."""

    count: int
    total: float

    @property
    def mean(self) -> float:
        """The mean of all values; 0 where there is none."""
        return self.total / self.count if self.count else 0.0


class Recent:
    """What the prototype's statistics show of durations and no histogram knows: extremes and percentiles.

    A histogram only knows between which bounds a percentile lies, and forgets the extremes. So these are kept beside:
    the extremes since the start, and the percentiles of the latest values, which are exact.
    """

    def __init__(self) -> None:
        self.min_s = self.max_s = 0.0
        self._latest: deque[float] = deque(maxlen=LATEST)

    def add(self, seconds: float) -> None:
        """Add a duration."""
        self.min_s = min(self.min_s, seconds) if self._latest else seconds
        self.max_s = max(self.max_s, seconds)
        self._latest.append(seconds)

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latest durations; 0 where there is none."""
        return float(np.percentile(list(self._latest), percent)) if self._latest else 0.0


def value_of(counter: Counter) -> float:
    """Return the number that a counter without labels, or one child of a counter, holds."""
    return _samples_of(counter)["_total"]


def count_of(counter: Counter) -> int:
    """Return the same of a counter that counts whole things."""
    return round(value_of(counter))


def tally_of(*histograms: Histogram) -> Tally:
    """Return what histograms without labels, or children of one, hold together."""
    samples = [_samples_of(histogram) for histogram in histograms]
    return Tally(round(sum(each["_count"] for each in samples)), sum(each["_sum"] for each in samples))


def _samples_of(instrument: Counter | Histogram) -> dict[str, float]:
    """Return the numbers of an instrument by how their names end; ``_bucket`` is any of the buckets."""
    (family,) = instrument.collect()
    return {sample.name.removeprefix(family.name): sample.value for sample in family.samples}
