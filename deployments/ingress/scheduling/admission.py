"""Grants slots: at most one per window, by priority, first come first served within a priority.

Slots in use are all the work in flight; everything else waits here, in one bounded queue. A request whose turn it is
gets slots for its first few windows: short files need not queue again. Later windows of a long file come back to the
end of the queue one by one, with the next lower priority: long files share what short ones leave them, and ageing keeps
them going. Where the service is slow, not all slots are granted: what has begun can be neither overtaken nor refused.

**Priorities age**: ``ageing_s`` of waiting, more where the service is slow, lifts a waiter by one priority. So high
overtakes normal, and normal low, but nobody starves: after ``priority * ageing_s`` seconds only those already waiting
can be ahead, and each freed slot serves one of them. So that the lower priorities can wait that long, higher ones leave
them ``KEPT_SHARE`` of the queue each.

**Overload** is answered at once, with the time after which trying again makes sense (``overload.py``):

- Who still waits when too little time is left for its slot to be of use gives up its place then, not at its deadline:
  begun work that nobody can wait for would take the slot of work that somebody can.
- When the queue is full, a newcomer displaces the last request of lower priority that has no slot yet, if there is one
  beyond those kept. A displaced request may still be uploading: the place is what is bounded, so its upload is stopped,
  not awaited. It is cancelled in the task it waits in, as ``asyncio.timeout`` does, and meets the error there.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.ingress.request import Priority
from deployments.ingress.scheduling.forecast import Forecast
from deployments.ingress.scheduling.overload import Overload
from deployments.ingress.scheduling.queues import Entry, Queues, Rest, Waiter
from deployments.ingress.scheduling.slots import Lease, Slots
from deployments.ingress.telemetry.statistics import QueueStatistics
from deployments.shared.errors import (
    DeadlineExceededError,
    DrainingError,
    OverloadedError,
    QueueFullError,
    QueueTimeoutError,
)
from deployments.shared.memory.slab import Slab

DRAINING_RETRY_AFTER_S = 5

KEPT_SHARE = 1 / 8
"""Share of the queue that is kept for each priority below the highest. Otherwise an overload of high priority alone
would keep the others out, or displace them before they have aged."""


class Admission:
    """The only queue of the service. Lives in the ingress's event loop; not thread-safe."""

    def __init__(
        self, slots: int, max_queue_size: int, slab: Slab | None, statistics: QueueStatistics, *, ageing_s: float
    ) -> None:
        self.max_queue_size = max_queue_size
        self.statistics = statistics
        self._slots = Slots(slots, slab, on_end=self._note_change, on_free=self._reuse)
        self._queues = Queues(ageing_s)
        self._forecast = Forecast(slots, len(Priority), ageing_s)
        self._overload = Overload(self._slots, self._queues, self._forecast, statistics)
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def slots(self) -> int:
        """Slots there are."""
        return self._slots.count

    @property
    def in_use(self) -> int:
        """Slots that cannot be granted now."""
        return self._slots.in_use

    @property
    def waiting(self) -> int:
        """Requests that have no slot yet."""
        return len(self._queues.entries)

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    def close(self) -> None:
        """Let nobody in any more. What is inside goes on and still gets its slots."""
        self._closed = True

    def refuse_if_closed(self) -> None:
        """Refuse everybody once the service is stopping.

        Raises:
            DrainingError: it is.
        """
        if self._closed:
            raise DrainingError("The service is stopping; try again", retry_after_s=DRAINING_RETRY_AFTER_S)

    async def drained(self) -> None:
        """Return when no request waits for its first slot and no window has one.

        A request whose client reads slowly may be between two windows at that moment.
        """
        while self._queues.entries or self._queues.has_waiters or self._slots.leases:
            self._changed.clear()
            await self._changed.wait()

    @contextmanager
    def enter(self, priority: Priority = Priority.NORMAL, deadline: float = math.inf) -> Iterator[Entry]:
        """Take a place in the queue, before the body is read, so that overload costs neither side an upload.

        Args:
            priority: as far as the headers tell.
            deadline: absolute, in seconds of the monotonic clock.

        Raises:
            DrainingError: the service is stopping.
            OverloadedError: the deadline cannot be met, or, later, a request of higher priority took the place.
            QueueFullError: no place is free.
        """
        self.refuse_if_closed()
        self._overload.refuse_newcomer(priority, deadline)
        entry = self._take_place(priority, deadline)
        with self._place(entry):
            yield entry

    @contextmanager
    def take_over(self, entry: Entry) -> Iterator[None]:
        """Keep, in the task that calls this, the place of a request that entered in another one, which may go on.

        Raises:
            OverloadedError: a request of higher priority took the place.
        """
        if entry.displaced:
            raise self._displaced(entry)
        entry.move_to_current_task()
        with self._place(entry):
            yield

    @contextmanager
    def _place(self, entry: Entry) -> Iterator[None]:
        """Keep a place for as long as its request waits in the present task."""
        here = entry.task
        try:
            yield
        except asyncio.CancelledError:
            if entry.task is here and entry.absorb_cancellation():
                raise self._displaced(entry) from None
            raise
        finally:
            if entry.task is here:
                self._leave(entry)

    def _displaced(self, entry: Entry) -> OverloadedError:
        return OverloadedError(
            "Requests of higher priority took this one's place; try again later",
            retry_after_s=self._overload.retry_after_answer(entry.priority),
        )

    def move(self, entry: Entry, priority: Priority) -> None:
        """Give a request the priority that its form names, now that it is read."""
        if entry.priority != priority:
            self._queues.move(entry, priority, time.monotonic())

    def foresee(self, window_s: float) -> None:
        """Take note that the encoder needs ``window_s`` seconds per window while nothing else runs."""
        self._forecast.foresee(window_s)
        self._follow_pace(time.monotonic())
        self._grant()

    def begin(self, priority: Priority, windows: int, turn: int, deadline: float) -> Rest:
        """Take note, until ``end``, of a request that has its first slot and knows its windows.

        Args:
            priority: of the request.
            windows: all of them.
            turn: how many of them ask to be served in turn.
            deadline: absolute, in seconds of the monotonic clock.

        Raises:
            TimeoutTooShortError: this machine cannot do so many windows in that time.
            OverloadedError: it cannot with what is ahead.
        """
        self._forecast.began(turn)
        rest = Rest(priority, max(0, windows - 1))
        if windows > turn:
            self._overload.refuse_too_long(rest, deadline)
        self._queues.rests.add(rest)
        return rest

    def end(self, rest: Rest) -> None:
        """Forget a request: it asks for no more slots."""
        self._queues.rests.remove(rest)

    async def first_slot(self, entry: Entry) -> Lease:
        """Wait for the slot of a request's first window. After it the request has begun, and its place is free.

        Raises:
            OverloadedError: the deadline cannot be met.
            QueueTimeoutError: no slot became free in time.
        """
        began = time.monotonic()
        at_once = self._slots.available > 0
        self._queues.uploading.remove(entry)
        if not at_once:
            self._overload.refuse_late(entry.priority, entry.deadline)
        self._forecast.asked(entry.priority, began)
        lease = self._lease() if at_once else await self._wait_first(entry)
        entry.waited_s = 0.0 if at_once else time.monotonic() - began
        self._leave(entry)
        self.statistics.dequeued(entry.waited_s)
        return lease

    async def next_slot(self, priority: Priority, deadline: float, *, in_turn: bool = False) -> Lease:
        """Wait for the slot of a later window of a request that has begun.

        Args:
            priority: of the window.
            deadline: absolute, in seconds of the monotonic clock.
            in_turn: the turn of the request has come already: its window goes before those that have not begun.

        Raises:
            DeadlineExceededError: no slot became free in time.
        """
        self._forecast.asked(priority, time.monotonic())
        if self._slots.available:
            return self._lease()
        waiter = Waiter(asyncio.get_running_loop().create_future(), None)
        (self._queues.in_turn if in_turn else self._queues.waiters).push(waiter, priority, time.monotonic())
        try:
            return await self._wait(waiter, deadline - time.monotonic())
        except TimeoutError:
            raise DeadlineExceededError.before("all of its audio had its turn") from None

    async def _wait_first(self, entry: Entry) -> Lease:
        waiter, now = Waiter(asyncio.get_running_loop().create_future(), entry), time.monotonic()
        self._queues.waiters.push(waiter, entry.priority, now)
        left_s = entry.deadline - time.monotonic()
        try:
            return await self._wait(waiter, left_s - self._forecast.hold_s(now))
        except TimeoutError:
            raise QueueTimeoutError(
                "The request waited for as long as its deadline allows; try again later or allow more time",
                retry_after_s=self._overload.retry_after_answer(entry.priority, left_s),
            ) from None

    async def _wait(self, waiter: Waiter, seconds: float) -> Lease:
        try:
            async with asyncio.timeout(seconds):
                return await waiter.granted
        except TimeoutError:
            self._give_up(waiter)
            self.statistics.timed_out()
            raise
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise

    def _give_up(self, waiter: Waiter) -> None:
        self._queues.forget(waiter)
        if not waiter.granted.cancelled():  # granted at the very moment of giving up
            waiter.granted.result().close()

    def _take_place(self, priority: Priority, deadline: float) -> Entry:
        kept, now, entries = int(KEPT_SHARE * self.max_queue_size), time.monotonic(), self._queues.entries
        lacking = entries.lacking_below(priority, now, kept)
        if len(entries) + lacking >= self.max_queue_size + self._slots.available:
            self._displace_below(priority, kept)
        self.statistics.enqueued()
        entry = Entry(priority, deadline)
        self._queues.enter(entry, now)
        return entry

    def _displace_below(self, priority: Priority, kept: int) -> None:
        """Take the place of the last request of lower priority.

        Raises:
            QueueFullError: there is none beyond those kept.
        """
        last = self._queues.entries.last_below(priority, time.monotonic(), kept)
        self.statistics.dropped("queue_full" if last is None else "displaced")
        if last is None:
            raise QueueFullError(
                f"The queue is full ({self.waiting} requests wait); try again later",
                retry_after_s=self._overload.retry_after_wait(priority),
            )
        self._leave(last)
        last.displace()

    def _leave(self, entry: Entry) -> None:
        self._queues.leave(entry)
        self._note_change()

    def _note_change(self) -> None:
        self._changed.set()

    def _reuse(self) -> None:
        now = time.monotonic()
        self._forecast.throughput.freed(now)
        self._follow_pace(now)
        self._grant()
        if not self._slots.available:
            self._forecast.throughput.all_in_use(now)

    def _follow_pace(self, now: float) -> None:
        self._slots.limit = self._forecast.in_flight(now)
        self._queues.set_ageing(self._forecast.ageing_s(now))

    def _grant(self) -> None:
        while self._queues.has_waiters and self._slots.available:
            waiter = self._queues.pop(time.monotonic())
            if waiter.granted.done():
                continue
            if waiter.entry is not None:
                self._leave(waiter.entry)  # it has begun: nobody may displace it now
            waiter.granted.set_result(self._lease())

    def _lease(self) -> Lease:
        lease = self._slots.grant()
        if not self._slots.available:
            self._forecast.throughput.all_in_use(time.monotonic())
        self.statistics.slot_granted()
        return lease
