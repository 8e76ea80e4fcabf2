"""The slots of the slab, and the lease by which a window holds one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from deployments.shared.memory.slab import Slab

KEPT_BACK_POLL_S = 0.1
"""Seconds between two looks at a slot that cannot be granted again yet."""

logger = logging.getLogger("ray.serve")


class CallKeeper(Protocol):
    """Keeps a call's end in mind, also when nobody waits for its result any more."""

    def attach(self, call: asyncio.Task[object]) -> None:
        """Keep a call until it has ended."""
        ...


class CallsWithoutSlot:
    """The calls of a request that work on no slot: they end with the request, since no slot has to outlive them."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[object]] = set()

    def attach(self, call: asyncio.Task[object]) -> None:
        """Keep a call until it has ended."""
        self._running.add(call)
        call.add_done_callback(self._end)

    def close(self) -> None:
        """Cancel what still runs: nobody needs it any more."""
        for call in self._running:
            call.cancel()

    def _end(self, call: asyncio.Task[object]) -> None:
        self._running.discard(call)
        if not call.cancelled():
            call.exception()  # retrieved here, because the waiter may be gone


class Lease:
    """One window's hold on a slot.

    The slot is given back when the holder has closed the lease *and* every stage call that was given the slot has
    ended, so that slots in use are all the work in flight.
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
        """Keep the slot until ``call`` has ended, also when nobody waits for its result any more."""
        self._running += 1
        call.add_done_callback(self._end)

    def close(self) -> None:
        """Give up the hold: the holder needs the slot no longer."""
        if self._closed:
            return
        self._closed = True
        if self._running:
            self._cancel()
        self._free_if_unused()

    def _end(self, call: asyncio.Task[object]) -> None:
        if not call.cancelled():
            call.exception()  # retrieved here, because the waiter may be gone
        self._running -= 1
        self._free_if_unused()

    def _free_if_unused(self) -> None:
        if self._closed and not self._running:
            self._give_back(self.slot)


class Slots:
    """All slots of one ingress.

    Args:
        count: slots there are.
        slab: holds their arrays; None where arrays travel through the object store.
        on_end: is called when a lease has ended.
        on_free: is called when a slot may be granted again, which may be later.

    Attributes:
        count: slots there are.
        limit: slots that may be in use at a time, at most ``count``.
        leases: leases that have not ended.
    """

    def __init__(
        self, count: int, slab: Slab | None, *, on_end: Callable[[], None], on_free: Callable[[], None]
    ) -> None:
        self.count = count
        self.limit = count
        self.leases = 0
        self._slab = slab
        self._generations = [0] * count
        self._free = list(range(count))
        self._on_end = on_end
        self._on_free = on_free

    @property
    def in_use(self) -> int:
        """Slots that are held, or into which something is still written."""
        return self.count - len(self._free)

    @property
    def available(self) -> int:
        """Slots that may be granted now."""
        return max(0, self.limit - self.in_use)

    def grant(self) -> Lease:
        """Return a lease of a free slot.

        Raises:
            IndexError: no slot is free.
        """
        slot = self._free.pop()
        self.leases += 1
        slab = self._slab
        if slab is None:
            self._generations[slot] += 1
            return Lease(slot, self._generations[slot], self._give_back, lambda: None)
        generation = slab.grant(slot)
        return Lease(slot, generation, self._give_back, lambda: slab.cancel(slot, generation))

    def _give_back(self, slot: int) -> None:
        self.leases -= 1
        self._on_end()
        slab = self._slab
        if slab is not None:
            slab.take_back(slot)
            obstacle = _obstacle(slot, slab)
            if obstacle is not None:
                logger.warning("Slot %d is kept back: %s", slot, obstacle)
                self._free_later(slot, slab)
                return
        self._make_free(slot)

    def _free_later(self, slot: int, slab: Slab) -> None:
        asyncio.get_running_loop().call_later(KEPT_BACK_POLL_S, self._free_when_quiet, slot, slab)

    def _free_when_quiet(self, slot: int, slab: Slab) -> None:
        if _obstacle(slot, slab) is None:
            self._make_free(slot)
        else:
            self._free_later(slot, slab)

    def _make_free(self, slot: int) -> None:
        self._free.append(slot)
        self._on_free()


def _obstacle(slot: int, slab: Slab) -> str | None:
    """Return why a slot that was taken back cannot be granted again yet; None if it can."""
    try:
        is_written = slab.is_written(slot)
    except OSError as error:  # it is looked for through a descriptor, and they may have run out
        return f"whether a stage still writes into it cannot be known ({error.strerror})"
    # A call that ended for us has not always ended where it ran: a replica that was taken for dead, or whose call was
    # cancelled, may write on.
    return "a stage whose call was given up still writes into it" if is_written else None
