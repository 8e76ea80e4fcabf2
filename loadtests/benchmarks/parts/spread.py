"""How a figure that was measured several times is written."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], digits: int) -> str:
    """Write median, lowest and highest; a dash where nothing was measured."""
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratio_spread(values: Sequence[float], others: Sequence[float], digits: int) -> str:
    """Write the spread of the ratios of values that were measured in turns, round by round."""
    return spread([value / other for value, other in zip(values, others, strict=True)], digits) + "x"
