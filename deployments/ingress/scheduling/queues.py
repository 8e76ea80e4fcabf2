"""Everybody who waits in the service, and how many windows that is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from deployments.ingress.request import Priority
from deployments.ingress.scheduling.ageing_queue import AgeingQueue
from deployments.ingress.scheduling.slots import Lease


class Entry:
    """A request's place in the bounded queue: from before its body is read until it has its first slot.

    Attributes:
        deadline: absolute, in seconds of the monotonic clock.
        waited_s: seconds from the end of the upload until the first slot; None until then.
        displaced: whether it lost its place to a request of higher priority.
        task: where the request waits.
    """

    def __init__(self, priority: Priority, deadline: float) -> None:
        self.priority = priority
        self.deadline = deadline
        self.waited_s: float | None = None
        self.displaced = False
        self.move_to_current_task()

    def move_to_current_task(self) -> None:
        """Let the request wait where this is called."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request must wait in a task of its own")
        self.task: asyncio.Task[object] = task
        self._cancelling = task.cancelling()

    def displace(self) -> None:
        """Stop the request, wherever it waits."""
        self.displaced = True
        self.task.cancel()

    def absorb_cancellation(self) -> bool:
        """Return whether its task was cancelled because it was displaced, and for no other reason."""
        return self.displaced and self.task.uncancel() <= self._cancelling


@dataclass(eq=False, slots=True)
class Waiter:
    """A window that waits for a slot.

    Attributes:
        granted: its lease, once there is one.
        entry: of its request, where this is the first window; None for a later one.
    """

    granted: asyncio.Future[Lease]
    entry: Entry | None


@dataclass(eq=False, slots=True)
class Rest:
    """What is still to come of a request that has begun.

    Attributes:
        windows: those that have not asked for a slot yet.
    """

    priority: Priority
    windows: int


class Queues:
    """``now`` is in seconds and never goes back.

    Attributes:
        entries: requests that have no slot yet.
        uploading: those of them whose body is not read yet.
        waiters: windows that wait for a slot, behind each other.
        in_turn: windows of requests whose turn has come already: they go before the waiters of their level.
        rests: requests that have begun.
    """

    def __init__(self, ageing_s: float) -> None:
        levels = len(Priority)
        self.entries: AgeingQueue[Entry] = AgeingQueue(levels, ageing_s)
        self.uploading: AgeingQueue[Entry] = AgeingQueue(levels, ageing_s)
        self.waiters: AgeingQueue[Waiter] = AgeingQueue(levels, ageing_s)
        self.in_turn: AgeingQueue[Waiter] = AgeingQueue(levels, ageing_s)
        self.rests: set[Rest] = set()

    @property
    def has_waiters(self) -> bool:
        """Whether any window waits for a slot."""
        return bool(self.waiters or self.in_turn)

    def set_ageing(self, ageing_s: float) -> None:
        """Lift waiters by one level after so many seconds from now on."""
        for queue in (self.entries, self.uploading, self.waiters, self.in_turn):
            queue.ageing_s = ageing_s

    def enter(self, entry: Entry, now: float) -> None:
        """Put a request at the end of its level."""
        self.entries.push(entry, entry.priority, now)
        self.uploading.push(entry, entry.priority, now)

    def leave(self, entry: Entry) -> None:
        """Take a request out; do nothing if it has left already."""
        self.entries.remove(entry)
        self.uploading.remove(entry)

    def move(self, entry: Entry, priority: Priority, now: float) -> None:
        """Put a request at the end of another level."""
        self.leave(entry)
        entry.priority = priority
        self.enter(entry, now)

    def forget(self, waiter: Waiter) -> None:
        """Take a window out; do nothing if it has its slot already."""
        self.waiters.remove(waiter)
        self.in_turn.remove(waiter)

    def pop(self, now: float) -> Waiter:
        """Take the window that gets the next slot.

        Raises:
            IndexError: no window waits.
        """
        in_turn = self.in_turn.first_level(now) <= self.waiters.first_level(now)
        return (self.in_turn if in_turn else self.waiters).pop(now)

    def windows_ahead(self, priority: Priority, turn: float, now: float) -> float:
        """Return how many windows would get a slot before that of a newcomer.

        Args:
            turn: windows that a request brings in its turn, on average; those that upload are counted so.
        """
        ahead = sum(queue.ahead_of(priority, now) for queue in (self.uploading, self.waiters, self.in_turn))
        return ahead + (turn - 1.0) * self.entries.ahead_of(priority, now)

    def windows_beside(self, newcomer: Rest) -> float:
        """Return how many windows of requests that have begun get slots before the last window of ``newcomer``."""
        beside = 0
        for rest in self.rests:
            if rest.priority <= newcomer.priority:
                higher = rest.priority < newcomer.priority
                beside += rest.windows if higher else min(rest.windows, newcomer.windows)
        return beside
