"""The order in which a replica takes waiting windows."""

from __future__ import annotations

import pytest

from deployments.shared.urgency import AHEAD_S, UrgentFirst

HIGH, NORMAL, LOW = 0, 1, 2


def taken(*arrivals: tuple[str, int, float]) -> list[str]:
    queue: UrgentFirst[str] = UrgentFirst()
    for name, priority, now in arrivals:
        queue.push(name, priority, now)
    return [queue.pop() for _ in range(len(queue))]


def test_higher_priority_overtakes() -> None:
    assert taken(("low", LOW, 0.0), ("normal", NORMAL, 1.0), ("high", HIGH, 2.0)) == ["high", "normal", "low"]


def test_equal_priority_keeps_the_order_of_arrival_also_at_one_instant() -> None:
    assert taken(("first", NORMAL, 0.0), ("second", NORMAL, 0.0), ("third", NORMAL, 1.0)) == [
        "first",
        "second",
        "third",
    ]


def test_nobody_is_overtaken_for_longer_than_a_step_of_priority_is_worth() -> None:
    assert taken(("waits", NORMAL, 0.0), ("late", HIGH, AHEAD_S + 0.1)) == ["waits", "late"]


def test_an_empty_queue_has_nothing_to_take() -> None:
    with pytest.raises(IndexError):
        UrgentFirst[str]().pop()
