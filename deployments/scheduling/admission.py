"""Grants slots: at most one a window, by priority, first come first served within a priority.

Slots in use are all the work in flight; everything else waits here, in one bounded queue. Windows of a long file come
back to the end of the queue one by one, so files share the slots whatever their length.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from deployments.errors import DeadlineExceededError, QueueFullError
from deployments.memory.slab import Slab
from deployments.statistics import QueueStatistics

RETRY_AFTER_S = 1.0


class Priority(enum.IntEnum):
    """Lower runs first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class Lease:
    """One window's hold on a slot. The slot is free again when the holder has closed the lease *and* every stage
    call that was given the slot has ended, so that a late writer can never touch another request's data.
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

    def __init__(self, leave: Callable[[], None]) -> None:
        self.waited_s: float | None = None
        self._leave = leave
        self._left = False

    def leave(self) -> None:
        """Gives the place up; a second call does nothing."""
        if not self._left:
            self._left = True
            self._leave()


@dataclass(order=True, slots=True)
class _Waiter:
    priority: Priority
    order: int
    granted: asyncio.Future[Lease] = field(compare=False)


class Admission:
    """The only queue of the service. Lives in the ingress's event loop; not thread-safe."""

    def __init__(self, slots: int, max_queue_size: int, slab: Slab | None, statistics: QueueStatistics) -> None:
        self.slots = slots
        self.max_queue_size = max_queue_size
        self.statistics = statistics
        self._slab = slab
        self._generations = [0] * slots
        self._free = list(range(slots))
        self._queue: list[_Waiter] = []
        self._order = 0
        self._entered = 0

    @property
    def in_use(self) -> int:
        return self.slots - len(self._free)

    @property
    def waiting(self) -> int:
        """Requests that have no slot yet."""
        return self._entered

    @contextmanager
    def enter(self) -> Iterator[Entry]:
        """Takes a place in the queue, before the body is read, so that overload costs neither side an upload.

        Raises:
            QueueFullError: with the time after which a place is likely to be free.
        """
        if self._entered >= self.max_queue_size + len(self._free):
            self.statistics.dropped()
            raise QueueFullError(
                f"the queue is full ({self._entered} requests wait); try again later",
                retry_after_s=max(RETRY_AFTER_S, math.ceil(self.statistics.mean_wait_s)),
            )
        self._entered += 1
        self.statistics.enqueued()
        entry = Entry(self._left)
        try:
            yield entry
        finally:
            entry.leave()

    def _left(self) -> None:
        self._entered -= 1

    async def acquire(self, priority: Priority, deadline: float, entry: Entry | None = None) -> Lease:
        """Waits for a slot.

        Args:
            priority: of the request.
            deadline: absolute, seconds since the epoch.
            entry: of the request, for its first window.

        Raises:
            DeadlineExceededError: no slot became free in time.
        """
        began = time.monotonic()
        at_once = bool(self._free) and not self._queue
        lease = self._lease(self._free.pop()) if at_once else await self._wait(priority, deadline)
        if entry is not None:
            entry.waited_s = 0.0 if at_once else time.monotonic() - began
            entry.leave()
            self.statistics.dequeued(entry.waited_s)
        return lease

    async def _wait(self, priority: Priority, deadline: float) -> Lease:
        self._order += 1
        waiter = _Waiter(priority, self._order, asyncio.get_running_loop().create_future())
        heapq.heappush(self._queue, waiter)
        try:
            async with asyncio.timeout(deadline - time.time()):
                return await waiter.granted
        except TimeoutError:
            self._give_up(waiter)
            self.statistics.timed_out()
            raise DeadlineExceededError("the request waited for its whole deadline; send fewer at a time") from None
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter in self._queue:
            self._queue.remove(waiter)
            heapq.heapify(self._queue)
        if not waiter.granted.cancelled():  # granted at the very moment of giving up
            waiter.granted.result().close()

    def _give_back(self, slot: int) -> None:
        if self._slab is not None:
            self._slab.take_back(slot)
        self._free.append(slot)
        self._grant()

    def _grant(self) -> None:
        while self._queue and self._free:
            waiter = heapq.heappop(self._queue)
            if not waiter.granted.done():
                waiter.granted.set_result(self._lease(self._free.pop()))

    def _lease(self, slot: int) -> Lease:
        self.statistics.slot_granted()
        slab = self._slab
        if slab is None:
            self._generations[slot] += 1
            return Lease(slot, self._generations[slot], self._give_back, lambda: None)
        generation = slab.grant(slot)
        return Lease(slot, generation, self._give_back, lambda: slab.cancel(slot, generation))
