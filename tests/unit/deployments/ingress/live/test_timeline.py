"""Audio by its place in all that was sent."""

from __future__ import annotations

import numpy as np

from deployments.ingress.live.timeline import Timeline


def numbers(data: bytes) -> list[int]:
    return [int(value) for value in np.frombuffer(data, np.int16)]


def test_places_stay_what_they_were_when_what_lies_before_is_forgotten() -> None:
    timeline = Timeline()
    timeline.append(np.arange(100, dtype=np.int16))
    timeline.forget_before(40)
    timeline.append(np.arange(100, 120, dtype=np.int16))
    assert (timeline.start, timeline.end) == (40, 120)
    assert numbers(timeline.between(50, 53)) == [50, 51, 52]
    assert numbers(timeline.between(98, 102)) == [98, 99, 100, 101]


def test_nothing_is_forgotten_twice_and_nothing_that_has_not_come() -> None:
    timeline = Timeline()
    timeline.append(np.arange(10, dtype=np.int16))
    for position in (5, 3, 99):
        timeline.forget_before(position)
    assert (timeline.start, timeline.end) == (10, 10)
