"""Confidence intervals of error rates: speakers are drawn anew, not files, for a voice's errors come together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 10_000
SEED = 2026
Counts = np.ndarray[Any, np.dtype[np.int64]]
LEVEL = 0.95


@dataclass(frozen=True)
class Compared:
    """One recording, scored.

    Attributes:
        speaker: who speaks.
        units: words or characters of the reference.
        errors: in the text whose rate is asked for.
        other_errors: in the text that it is compared with.
    """

    speaker: str
    units: int
    errors: int
    other_errors: int = 0


@dataclass(frozen=True)
class Estimate:
    """A rate, or a difference of rates.

    Attributes:
        low, high: bounds of its 95% interval; None where one speaker is all there is.
    """

    value: float
    low: float | None
    high: float | None


def error_rate(recordings: Iterable[Compared]) -> Estimate:
    """Return errors per unit, with their interval."""
    units, errors, _ = _by_speaker(recordings)
    return _estimate(units, errors)


def difference(recordings: Iterable[Compared]) -> Estimate:
    """Return how much higher the error rate is than that of the other texts, with its interval."""
    units, errors, other_errors = _by_speaker(recordings)
    return _estimate(units, errors - other_errors)


def _by_speaker(recordings: Iterable[Compared]) -> Counts:
    """Return units, errors and the other's errors by speaker: ``[3, speakers]``."""
    sums: dict[str, Counts] = defaultdict(lambda: np.zeros(3, np.int64))
    for recording in recordings:
        sums[recording.speaker] += (recording.units, recording.errors, recording.other_errors)
    return np.array(list(sums.values())).T


def _estimate(units: Counts, errors: Counts) -> Estimate:
    value = float(errors.sum() / units.sum())
    if len(units) == 1:
        return Estimate(value, None, None)
    drawn = np.random.default_rng(SEED).integers(len(units), size=(RESAMPLES, len(units)))
    rates = errors[drawn].sum(axis=1) / units[drawn].sum(axis=1)
    low, high = np.quantile(rates, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(value, float(low), float(high))
