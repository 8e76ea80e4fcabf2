"""How a stage gets its input arrays and hands on its output, through the slab or through the object store.

A stage sees NumPy arrays. In shared memory they are views of a slot, so handing on costs nothing; through the object
store an input arrives read-only and without a copy, and an output is copied once.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, assert_never

import numpy as np
import ray
from numpy.typing import NDArray

from deployments.shared.contracts import (
    Area,
    ArrayRef,
    BlobRef,
    SlotArray,
    SpooledBlob,
    Stored,
    Ticket,
)
from deployments.shared.errors import DeadlineExceededError, RequestCancelledError, SlotViolationError
from deployments.shared.memory.slab import Float32, Slab
from deployments.shared.memory.spool import mapped_pcm, read_pcm, remove, write_pcm

Int16 = NDArray[np.int16]


class Handoff:
    """One stage replica's end of the handoff. Thread-safe: two threads that race to attach a slab both succeed."""

    def __init__(self) -> None:
        self._slab: Slab | None = None

    def check_ticket(self, ticket: Ticket) -> None:
        """Refuse work for a request that nobody waits for any more; called before the work begins.

        Raises:
            DeadlineExceededError: the request's deadline has passed.
            RequestCancelledError: the request was given up.
            SlotViolationError: the slot has passed to another request.
        """
        if ticket.is_late:
            raise DeadlineExceededError.before("this stage began")
        if ticket.slab is None:
            return
        slab = self._slab_of(ticket.slab)
        slab.check_generation(ticket.slot, ticket.generation)
        if slab.is_cancelled(ticket.slot, ticket.generation):
            raise RequestCancelledError.given_up()

    @contextmanager
    def reading(self, ticket: Ticket) -> Iterator[None]:
        """Check a ticket, and keep its slot's memory while the context lasts: for work that reads without an output.

        Raises:
            DeadlineExceededError, RequestCancelledError, SlotViolationError: as ``check_ticket``.
        """
        if ticket.slab is None:
            self.check_ticket(ticket)
            yield
            return
        with self._slab_of(ticket.slab).reading(ticket.slot, ticket.generation):
            self.check_ticket(ticket)
            yield

    @contextmanager
    def output(self, ticket: Ticket, area: Area, shape: tuple[int, int]) -> Iterator[Float32]:
        """Yield an uninitialised float32 array of ``shape`` to write the stage's result into, within the context.

        Raises:
            StageLostError: an earlier call for the same slot, which seemed dead, still writes.
            SlotViolationError: the slot has passed to another request.
        """
        if ticket.slab is None:
            yield np.empty(shape, np.float32)
            return
        with self._slab_of(ticket.slab).writing(ticket.slot, ticket.generation, area, shape) as array:
            yield array

    def publish(self, ticket: Ticket, area: Area, array: Float32) -> ArrayRef:
        """Hand on an array that ``output`` yielded, filled and still within its context.

        Raises:
            SlotViolationError: the slot passed to another request while the array was being filled.
        """
        if ticket.slab is None:
            return Stored(array)
        self._slab_of(ticket.slab).check_generation(ticket.slot, ticket.generation)
        rows, columns = array.shape
        return SlotArray(ticket.slot, ticket.generation, area, (rows, columns))

    def input(self, ticket: Ticket, array: ArrayRef) -> Float32:
        """Return the array behind a reference: a view of the slot, or read-only from the object store."""
        match array:
            case SlotArray():
                if ticket.slab is None:
                    raise SlotViolationError("An array in shared memory arrived without its slab")
                return self._slab_of(ticket.slab).view(array.slot, array.generation, array.area, array.shape)
            case Stored():
                stored: Float32 = ray.get(array.content)
                return stored
        assert_never(array)

    def store_pcm(self, ticket: Ticket, upload: BlobRef, pcm: Int16) -> BlobRef:
        """Keep decoded audio for the later windows of a request.

        Raises:
            DeadlineExceededError, RequestCancelledError, SlotViolationError: as ``check_ticket``.
            OutOfSpaceError: the audio does not fit into the spool.
        """
        self.check_ticket(ticket)
        match upload:
            case SpooledBlob():
                return SpooledBlob(str(write_pcm(Path(upload.path), pcm)))
            case Stored():
                return Stored(pcm)
        assert_never(upload)

    def drop_slab_if_gone(self) -> None:
        """Give up the mapping of a slab whose file was deleted, so that its memory becomes free.

        Arrays that a call still uses keep the mapping until the call ends.
        """
        slab = self._slab
        if slab is not None and slab.is_gone and self._slab is slab:
            self._slab = None

    def _slab_of(self, path: str) -> Slab:
        slab = self._slab
        if slab is None or str(slab.path) != path:
            slab = self._slab = Slab.attach(Path(path))
        return slab


def open_upload(blob: BlobRef) -> BinaryIO:
    """Open the bytes that a client sent, as a seekable file."""
    match blob:
        case SpooledBlob():
            return Path(blob.path).open("rb")
        case Stored():
            return io.BytesIO(ray.get(blob.content))
    assert_never(blob)


def load_pcm(blob: BlobRef, wanted: slice) -> Int16:
    """Return some samples of decoded audio that ``store_pcm`` kept, for example ``Window.samples``."""
    match blob:
        case SpooledBlob():
            return read_pcm(Path(blob.path), wanted.start, wanted.stop)
        case Stored():
            samples: Int16 = ray.get(blob.content)
            return samples[wanted]
    assert_never(blob)


def map_pcm(blob: BlobRef, samples: int) -> Int16:
    """Return decoded audio that ``store_pcm`` kept, of which only what is looked at takes memory.

    Raises:
        RequestCancelledError: the audio was removed: the request was given up.
    """
    match blob:
        case SpooledBlob():
            return mapped_pcm(Path(blob.path), samples)
        case Stored():
            stored: Int16 = ray.get(blob.content)
            return stored[:samples]
    assert_never(blob)


def is_kept(blob: BlobRef) -> bool:
    """Return whether anybody still needs a blob: of one in the object store nobody here can tell."""
    return not isinstance(blob, SpooledBlob) or Path(blob.path).exists()


def drop(upload: BlobRef) -> None:
    """Free an upload and the audio decoded from it; an object in Ray's store goes with its last reference."""
    if isinstance(upload, SpooledBlob):
        remove(Path(upload.path))
