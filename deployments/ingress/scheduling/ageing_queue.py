"""A queue with priorities in which nobody starves: waiting lifts.

Items stand in levels, first come first served within a level. Whatever has stood in a level for ``ageing_s`` moves to
the end of the next higher one, so after ``level * ageing_s`` seconds nothing that comes later gets ahead of it. Every
operation takes constant time, amortised: an item moves at most once a level.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Item = TypeVar("Item")


class AgeingQueue(Generic[Item]):
    """Hashable items in ``levels`` levels, 0 first. ``now`` is in seconds and never goes back.

    Attributes:
        ageing_s: after which an item moves up one level; may change at any time.
    """

    def __init__(self, levels: int, ageing_s: float) -> None:
        # Of each item, in order: since when it has stood in its level.
        self._levels: list[OrderedDict[Item, float]] = [OrderedDict() for _ in range(levels)]
        self.ageing_s = ageing_s

    def __len__(self) -> int:
        return sum(map(len, self._levels))

    def push(self, item: Item, level: int, now: float) -> None:
        """Add an item at the end of a level."""
        self._lift(now)
        self._levels[level][item] = now

    def first_level(self, now: float) -> int:
        """Return the level of the item that ``pop`` would take; the number of levels if there is none."""
        self._lift(now)
        return next((number for number, level in enumerate(self._levels) if level), len(self._levels))

    def pop(self, now: float) -> Item:
        """Take the first item of the highest level.

        Raises:
            IndexError: the queue is empty.
        """
        self._lift(now)
        for level in self._levels:
            if level:
                return level.popitem(last=False)[0]
        raise IndexError("pop from an empty queue")

    def remove(self, item: Item) -> None:
        """Take an item out, wherever it stands; do nothing if it is not there."""
        for level in self._levels:
            if level.pop(item, None) is not None:
                return

    def ahead_of(self, level: int, now: float) -> int:
        """Return how many items would be ahead of one that came to ``level`` now."""
        self._lift(now)
        return sum(map(len, self._levels[: level + 1]))

    def last_below(self, level: int, now: float, kept: int = 0) -> Item | None:
        """Return the last item of the lowest level below ``level`` with more than ``kept`` items, if any has."""
        self._lift(now)
        for lower in reversed(self._levels[level + 1 :]):
            if len(lower) > kept:
                return next(reversed(lower))
        return None

    def lacking_below(self, level: int, now: float, kept: int) -> int:
        """Return how many items the levels below ``level`` lack to have ``kept`` each."""
        self._lift(now)
        return sum(max(0, kept - len(lower)) for lower in self._levels[level + 1 :])

    def _lift(self, now: float) -> None:
        for higher, lower in reversed(list(zip(self._levels, self._levels[1:], strict=False))):
            while lower and (due := next(iter(lower.values())) + self.ageing_s) <= now:
                item, _ = lower.popitem(last=False)
                higher[item] = due
