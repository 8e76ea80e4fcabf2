"""The schedule of an open loop: requests are due at fixed times, whether or not earlier ones were answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loadtests.load.scenarios.plan import Phase


def due_times(phases: Sequence[Phase]) -> Iterator[tuple[Phase, float]]:
    """Yield every arrival: its phase, and the seconds from the start of the first one."""
    began = 0.0
    for phase in phases:
        for number in range(round(phase.rate * phase.seconds)):
            yield phase, began + number / phase.rate
        began += phase.seconds
