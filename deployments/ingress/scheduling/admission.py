"""Grants slots: at most one a window, by priority, first come first served within a priority.

Slots in use are all the work in flight; everything else waits here, in one bounded queue. A request whose turn it is
gets slots for its first few windows: short files need not queue again. Later windows of a long file come back to the
end of the queue one by one, with the next lower priority: long files share what short ones leave them, and ageing keeps
them going. Where the service is slow, not all slots are granted: what has begun can be neither overtaken nor refused.

**Priorities age**: ``ageing_s`` of waiting, more where the service is slow, lifts a waiter by one priority. So high
overtakes normal, and normal low, but nobody starves: after ``priority * ageing_s`` seconds only those already waiting
can be ahead, and each freed slot serves one of them. So that the lower priorities can wait that long, higher ones leave
them ``KEPT_SHARE`` of the queue each.

**Overload** is answered at once, with the time after which trying again makes sense:

- A request that could not be answered by its deadline is refused. What it needs is a forecast (``forecast.py``): from
  those ahead of it, uploading or waiting, those of higher priority that will overtake it, and the pace at which slots
  become free; then it holds its slot for as long as others do. A forecast is a mean, so before the upload ``MARGIN`` is
  added. Nothing is refused while a slot is free for it, nor before the pace is known.
- A file whose windows are counted is refused where the rest of them do not fit its deadline (``begin``).
- ``Retry-After`` is the time after which the queue will have got short enough, counted behind all those who were told a
  time before. As long as any of them is still to come, half of the queue is left to them, or else those whose request
  was just answered would always come first.
- Who still waits when too little time is left for its slot to be of use gives up its place then, not at its deadline:
  begun work that nobody can wait for would take the slot of work that somebody can.
- When the queue is full, a newcomer displaces the last request of lower priority that has no slot yet, if there is one
  beyond those kept. A displaced request may still be uploading: the place is what is bounded, so its upload is stopped,
  not awaited. It is cancelled in its own task, as ``asyncio.timeout`` does, and meets the error where it entered.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deployments.ingress.scheduling.ageing_queue import AgeingQueue
from deployments.ingress.scheduling.forecast import Forecast
from deployments.ingress.scheduling.promises import Promises
from deployments.ingress.telemetry.statistics import QueueStatistics
from deployments.shared.errors import (
    DeadlineExceededError,
    DrainingError,
    OverloadedError,
    QueueFullError,
    QueueTimeoutError,
    TimeoutTooShortError,
)
from deployments.shared.memory.slab import Slab

MIN_RETRY_AFTER_S = 1
MAX_RETRY_AFTER_S = 300
DRAINING_RETRY_AFTER_S = 5
ABANDONED_POLL_S = 0.1

MARGIN = 1.25
"""What is foreseen may turn out this much longer: about one standard deviation of the wait where half of the slots go
to higher priorities, whose arrivals vary. Where requests keep coming it costs no throughput, only a shorter queue."""

KEPT_SHARE = 1 / 8
"""Of the queue, for each priority below the highest. Otherwise an overload of high priority alone would keep the others
out, or displace them before they have aged."""

logger = logging.getLogger("ray.serve")


class Priority(enum.IntEnum):
    """Lower runs first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2

    @property
    def lower(self) -> Priority:
        """The next lower one; the lowest has none below."""
        return Priority(min(self + 1, Priority.LOW))


class Lease:
    """One window's hold on a slot. The slot is given back when the holder has closed the lease *and* every stage
    call that was given the slot has ended, so that slots in use are all the work in flight.
    """

    def __init__(
        self, slot: int, generation: int, give_back: Callable[[int], None], cancel: Callable[[], None]
    ) -> None:
        self.slot = slot
        self.generation = generation
        self._give_back = give_back
        self._cancel = cancel
        self._running = 0
        self._closed = False

    def attach(self, call: asyncio.Task[object]) -> None:
        """Keeps the slot until ``call`` has ended, also when nobody waits for its result any more."""
        self._running += 1
        call.add_done_callback(self._ended)

    def close(self) -> None:
        """The holder needs the slot no longer."""
        if self._closed:
            return
        self._closed = True
        if self._running:
            self._cancel()
        self._free_if_unused()

    def _ended(self, call: asyncio.Task[object]) -> None:
        if not call.cancelled():
            call.exception()  # retrieved here, because the waiter may be gone
        self._running -= 1
        self._free_if_unused()

    def _free_if_unused(self) -> None:
        if self._closed and not self._running:
            self._give_back(self.slot)


class Entry:
    """A request's place in the bounded queue: from before its body is read until it has its first slot.

    Attributes:
        waited_s: seconds until the first slot; None until then.
    """

    def __init__(self, task: asyncio.Task[object], priority: Priority) -> None:
        self.priority = priority
        self.waited_s: float | None = None
        self._task = task
        self._cancelling = task.cancelling()
        self._displaced = False

    def displace(self) -> None:
        """Stops the request, wherever it waits."""
        self._displaced = True
        self._task.cancel()

    def absorb_cancellation(self) -> bool:
        """True if the request was cancelled because it was displaced, and for no other reason."""
        return self._displaced and self._task.uncancel() <= self._cancelling


@dataclass(eq=False, slots=True)
class _Waiter:
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


class Admission:
    """The only queue of the service. Lives in the ingress's event loop; not thread-safe."""

    def __init__(
        self, slots: int, max_queue_size: int, slab: Slab | None, statistics: QueueStatistics, *, ageing_s: float
    ) -> None:
        self.slots = slots
        self.max_queue_size = max_queue_size
        self.statistics = statistics
        self._slab = slab
        self._generations = [0] * slots
        self._free = list(range(slots))
        self._leases = 0
        self._entries: AgeingQueue[Entry] = AgeingQueue(len(Priority), ageing_s)
        self._uploading: AgeingQueue[Entry] = AgeingQueue(len(Priority), ageing_s)
        self._waiters: AgeingQueue[_Waiter] = AgeingQueue(len(Priority), ageing_s)
        self._in_turn: AgeingQueue[_Waiter] = AgeingQueue(len(Priority), ageing_s)
        self._rests: set[Rest] = set()
        self._promises = {priority: Promises() for priority in Priority}
        self._forecast = Forecast(slots, len(Priority), ageing_s)
        self._most_in_flight = slots
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def in_use(self) -> int:
        """Slots that cannot be granted now."""
        return self.slots - len(self._free)

    @property
    def _available(self) -> int:
        """How many slots may be granted now."""
        return max(0, self._most_in_flight - self.in_use)

    @property
    def waiting(self) -> int:
        """Requests that have no slot yet."""
        return len(self._entries)

    @property
    def closed(self) -> bool:
        """Nobody is let in any more."""
        return self._closed

    def close(self) -> None:
        """Lets nobody in any more. What is inside goes on and still gets its slots."""
        self._closed = True

    async def drained(self) -> None:
        """Returns when no request waits for its first slot and no window has one.

        A request whose client reads slowly may be between two windows at that moment.
        """
        while self._entries or self._waiters or self._in_turn or self._leases:
            self._changed.clear()
            await self._changed.wait()

    @contextmanager
    def enter(self, priority: Priority = Priority.NORMAL, deadline: float = math.inf) -> Iterator[Entry]:
        """Takes a place in the queue, before the body is read, so that overload costs neither side an upload.

        Args:
            priority: as far as the headers tell.
            deadline: absolute, seconds since the epoch.

        Raises:
            DrainingError: the service is stopping.
            OverloadedError: the deadline cannot be met, or, later, a request of higher priority took the place.
            QueueFullError: no place is free.
        """
        if self._closed:
            raise DrainingError("the service is stopping; try again", retry_after_s=DRAINING_RETRY_AFTER_S)
        self._refuse_if_late(priority, deadline, MARGIN, self._left_to_others(priority))
        entry = self._take_place(priority)
        try:
            yield entry
        except asyncio.CancelledError:
            if entry.absorb_cancellation():
                raise self._displaced(entry.priority) from None
            raise
        finally:
            self._leave(entry)

    def foresee(self, window_s: float) -> None:
        """The encoder was found to need ``window_s`` seconds per window while nothing else ran."""
        self._forecast.foresee(window_s)
        self._follow_pace(time.monotonic())
        self._grant()

    def begin(self, priority: Priority, windows: int, turn: int, deadline: float) -> Rest:
        """Take note, until ``end``, of a request that has its first slot and knows its windows.

        Args:
            priority: of the request.
            windows: all of them.
            turn: how many of them ask ``acquire`` to be served in turn.
            deadline: absolute, seconds since the epoch.

        Raises:
            TimeoutTooShortError: this machine cannot do so many windows in that time.
            OverloadedError: it cannot with what is ahead.
        """
        self._forecast.began(turn)
        rest = Rest(priority, max(0, windows - 1))
        if windows > turn:
            self._refuse_if_too_long(rest, deadline)
        self._rests.add(rest)
        return rest

    def end(self, rest: Rest) -> None:
        """The request asks for no more slots."""
        self._rests.remove(rest)

    async def acquire(
        self, priority: Priority, deadline: float, entry: Entry | None = None, *, in_turn: bool = False
    ) -> Lease:
        """Waits for a slot.

        Args:
            priority: of the request.
            deadline: absolute, seconds since the epoch.
            entry: of the request, for its first window.
            in_turn: the turn of the request has come already: its window goes before those that have not begun.

        Raises:
            OverloadedError: the deadline cannot be met; only a request that has not begun is refused so.
            QueueTimeoutError: no slot became free in time for the first window.
            DeadlineExceededError: none did for a later one.
        """
        began = time.monotonic()
        at_once = self._available > 0
        if entry is not None:
            self._uploading.remove(entry)
            if not at_once:
                self._refuse_if_late(priority, deadline)
                self._correct(entry, priority)
        self._forecast.asked(priority, began)
        lease = self._lease() if at_once else await self._wait(priority, deadline, entry, in_turn)
        if entry is not None:
            entry.waited_s = 0.0 if at_once else time.monotonic() - began
            self._leave(entry)
            self.statistics.dequeued(entry.waited_s)
        return lease

    def _take_place(self, priority: Priority) -> Entry:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request must enter from a task of its own")
        kept, now = int(KEPT_SHARE * self.max_queue_size), time.monotonic()
        lacking = self._entries.lacking_below(priority, now, kept)
        if len(self._entries) + lacking >= self.max_queue_size + self._available:
            self._displace_one_below(priority, kept)
        self.statistics.enqueued()
        entry = Entry(task, priority)
        self._entries.push(entry, priority, now)
        self._uploading.push(entry, priority, now)
        return entry

    def _displace_one_below(self, priority: Priority, kept: int) -> None:
        now = time.monotonic()
        last = self._entries.last_below(priority, now, kept)
        self.statistics.dropped("queue_full" if last is None else "displaced")
        if last is None:
            raise QueueFullError(
                f"the queue is full ({len(self._entries)} requests wait); try again later",
                retry_after_s=self._promise(priority, self._forecast.wait_s(priority, self._promised(priority), now)),
            )
        self._leave(last)
        last.displace()

    def _displaced(self, priority: Priority) -> OverloadedError:
        return OverloadedError(
            "requests of higher priority took this one's place; try again later",
            retry_after_s=self._promise(priority, self._needed_s(priority, self._promised(priority))),
        )

    def _refuse_if_late(
        self, priority: Priority, deadline: float, margin: float = 1.0, left_to_others: float = 0.0
    ) -> None:
        left_s = (deadline - time.time()) / margin
        needed_s = self._needed_s(priority, left_to_others)
        if not needed_s or needed_s <= left_s:
            return
        self.statistics.dropped("deadline")
        raise OverloadedError(
            "too much is ahead of this request for its deadline; try again later or allow more time",
            retry_after_s=self._promise(priority, self._needed_s(priority, self._promised(priority)) - left_s),
        )

    def _refuse_if_too_long(self, rest: Rest, deadline: float) -> None:
        left_s = (deadline - time.time()) / MARGIN
        windows, alone_s = rest.windows + 1, (rest.windows + 1) * self._forecast.window_s
        if alone_s > left_s:
            raise TimeoutTooShortError(
                f"{windows} windows of speech take this machine about {MARGIN * alone_s:.0f} s, and "
                f"{MARGIN * left_s:.0f} s are left: send a larger x-timeout-seconds (max_request_timeout_s of this "
                "service at most) or shorter audio; without that header timeout_per_audio_s decides",
                param="x-timeout-seconds",
            )
        needed_s = self._forecast.rest_s(self._sharing(rest), rest.windows, time.monotonic())
        if needed_s > left_s:
            self.statistics.dropped("deadline")
            raise OverloadedError(
                f"{windows} windows of speech behind those that are ahead take about {MARGIN * needed_s:.0f} s, and "
                f"{MARGIN * left_s:.0f} s are left: try again later or send a larger x-timeout-seconds "
                "(max_request_timeout_s of this service at most)",
                retry_after_s=_retry_after(needed_s - left_s),
            )

    def _sharing(self, newcomer: Rest) -> float:
        """How many windows of others get slots before the last one of ``newcomer``, as things are now."""
        ahead = self.in_use + self._windows_ahead(newcomer.priority.lower)
        for rest in self._rests:
            if rest.priority <= newcomer.priority:
                higher = rest.priority < newcomer.priority
                ahead += rest.windows if higher else min(rest.windows, newcomer.windows)
        return ahead

    def _left_to_others(self, priority: Priority) -> float:
        """How many windows to leave room for beside those ahead: for requests that were told to come back."""
        if self._promises[priority].keep(time.monotonic()):
            return 0.0
        return min(self._windows_ahead(priority), self._promised(priority))

    def _promised(self, priority: Priority) -> float:
        """How many windows those will bring who were told to come back."""
        return self._forecast.turn * self._promises[priority].outstanding(time.monotonic())

    def _promise(self, priority: Priority, seconds: float) -> int:
        """The ``Retry-After`` for who can be served in so many seconds, which the next one will be behind."""
        retry_after_s = _retry_after(seconds)
        if retry_after_s < MAX_RETRY_AFTER_S:
            self._promises[priority].add(time.monotonic() + retry_after_s)
        return retry_after_s

    def _needed_s(self, priority: Priority, more: float = 0.0) -> float:
        """How long a newcomer would take to its answer, behind those ahead and ``more`` windows.

        0 while a slot is free for it, and as long as the pace is not known.
        """
        now = time.monotonic()
        ahead = self._windows_ahead(priority) - self._available
        return self._forecast.wait_s(priority, ahead + more, now) + self._forecast.answer_s(now) if ahead >= 0 else 0.0

    def _windows_ahead(self, priority: Priority) -> float:
        """How many windows would get a slot before that of a newcomer; of those that upload the mean number."""
        now = time.monotonic()
        ahead = sum(queue.ahead_of(priority, now) for queue in (self._uploading, self._waiters, self._in_turn))
        return ahead + (self._forecast.turn - 1.0) * self._entries.ahead_of(priority, now)

    def _leave(self, entry: Entry) -> None:
        self._entries.remove(entry)
        self._uploading.remove(entry)
        self._changed.set()

    def _correct(self, entry: Entry, priority: Priority) -> None:
        """With the whole request read, its priority is known for certain."""
        if entry.priority == priority:
            return
        entry.priority = priority
        self._entries.remove(entry)
        self._entries.push(entry, priority, time.monotonic())

    async def _wait(self, priority: Priority, deadline: float, entry: Entry | None, in_turn: bool) -> Lease:  # noqa: FBT001
        waiter = _Waiter(asyncio.get_running_loop().create_future(), entry)
        (self._in_turn if in_turn else self._waiters).push(waiter, priority, time.monotonic())
        left_s = deadline - time.time()
        useful_s = left_s if entry is None else left_s - self._forecast.hold_s(time.monotonic())
        try:
            async with asyncio.timeout(useful_s):
                return await waiter.granted
        except TimeoutError:
            self._give_up(waiter)
            self.statistics.timed_out()
            if entry is None:
                raise DeadlineExceededError(
                    "the request's deadline passed before all of its audio had its turn; send shorter audio or allow "
                    "more time"
                ) from None
            raise QueueTimeoutError(
                "the request waited for as long as its deadline allows; try again later or allow more time",
                retry_after_s=self._promise(priority, self._needed_s(priority, self._promised(priority)) - left_s),
            ) from None
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise

    def _give_up(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        self._in_turn.remove(waiter)
        if not waiter.granted.cancelled():  # granted at the very moment of giving up
            waiter.granted.result().close()

    def _give_back(self, slot: int) -> None:
        self._leases -= 1
        self._changed.set()
        slab = self._slab
        if slab is not None:
            slab.take_back(slot)
            if slab.is_written(slot):
                # A call that ended for us has not always ended where it ran: a replica that was taken for dead, or
                # whose call was cancelled, may write on.
                logger.warning("slot %d is kept back: a stage whose call was given up still writes into it", slot)
                self._reuse_when_quiet(slot, slab)
                return
        self._reuse(slot)

    def _reuse_when_quiet(self, slot: int, slab: Slab) -> None:
        if slab.is_written(slot):
            asyncio.get_running_loop().call_later(ABANDONED_POLL_S, self._reuse_when_quiet, slot, slab)
        else:
            self._reuse(slot)

    def _reuse(self, slot: int) -> None:
        now = time.monotonic()
        self._forecast.throughput.freed(now)
        self._free.append(slot)
        self._follow_pace(now)
        self._grant()
        if not self._available:
            self._forecast.throughput.all_in_use(now)

    def _follow_pace(self, now: float) -> None:
        self._most_in_flight = self._forecast.in_flight(now)
        for queue in (self._entries, self._uploading, self._waiters, self._in_turn):
            queue.ageing_s = self._forecast.ageing_s(now)

    def _grant(self) -> None:
        while (self._waiters or self._in_turn) and self._available:
            waiter = self._next(time.monotonic())
            if waiter.granted.done():
                continue
            if waiter.entry is not None:
                self._leave(waiter.entry)  # it has begun: nobody may displace it now
            waiter.granted.set_result(self._lease())

    def _next(self, now: float) -> _Waiter:
        in_turn = self._in_turn.first_level(now) <= self._waiters.first_level(now)
        return (self._in_turn if in_turn else self._waiters).pop(now)

    def _lease(self) -> Lease:
        slot = self._free.pop()
        if not self._available:
            self._forecast.throughput.all_in_use(time.monotonic())
        self._leases += 1
        self.statistics.slot_granted()
        slab = self._slab
        if slab is None:
            self._generations[slot] += 1
            return Lease(slot, self._generations[slot], self._give_back, lambda: None)
        generation = slab.grant(slot)
        return Lease(slot, generation, self._give_back, lambda: slab.cancel(slot, generation))


def _retry_after(seconds: float) -> int:
    return min(max(MIN_RETRY_AFTER_S, math.ceil(seconds)), MAX_RETRY_AFTER_S)
