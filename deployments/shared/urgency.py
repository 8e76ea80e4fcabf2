"""The order in which a replica takes the windows that wait in it: by priority, and nobody starves."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Final, Generic, TypeVar

HIGHEST: Final = 0
"""The priority that is served first."""

AHEAD_S = 10.0
"""Seconds of waiting that one step of priority is worth: a window is overtaken for at most ``priority * AHEAD_S``."""

Item = TypeVar("Item")


class UrgentFirst(Generic[Item]):
    """A queue in order of arrival, in which each step of higher priority counts as ``AHEAD_S`` of waiting."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._arrivals = count()

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, item: Item, priority: int, now: float) -> None:
        """Add an item.

        Args:
            priority: 0 is served first.
            now: when the item arrived, in seconds. An item that arrived earlier than the ones before it overtakes them.
        """
        heapq.heappush(self._heap, (now + priority * AHEAD_S, next(self._arrivals), item))

    def pop(self) -> Item:
        """Take the most urgent item.

        Raises:
            IndexError: the queue is empty.
        """
        return heapq.heappop(self._heap)[-1]
