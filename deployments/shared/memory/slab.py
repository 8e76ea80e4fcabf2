"""One shared-memory file per node, cut into slots; a slot holds one window's log-mel and its encoder states.

The file begins with a header (magic, layout), then one 64-byte record per slot, then the slots. A slot's record
holds two numbers: its *generation*, raised when the slot is granted and again when it is taken back, and the
generation that was *cancelled* last. Stages compare them with their ticket, so a call that comes too late meets an
error instead of another request's data.

A generation cannot stop a write that has begun. So every writer holds a lock on its slot: byte ``slot`` of the file,
locked by the kernel for one open file description and released, at the latest, when the process ends, in whatever way.
A writer locks first and then checks the generation; the owner raises the generation first and then looks for the lock.
The one that comes second sees the other, so a slot that is taken back and not locked is never written under its old
generation again.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from deployments.shared.contracts import Area
from deployments.shared.errors import ConfigurationError, SlotViolationError, StageLostError
from deployments.shared.frames import N_FRAMES

if TYPE_CHECKING:
    from npu_encoder.weights import EncoderDimensions

MAGIC: Final = 0x414D414E5F534C31  # "AMAN_SL1"
HEADER_BYTES: Final = mmap.PAGESIZE
RECORD_BYTES: Final = 64  # a cache line: neighbours do not disturb each other
GENERATION, CANCELLED = 0, 1
FLOCK: Final = "hhqqi"  # struct flock of 64-bit Linux: type, whence, start, length, process

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SlabLayout:
    """The shape of a slab.

    Attributes:
        slots: number of windows in flight.
        n_mels, n_frames: shape of the largest log-mel.
        n_states, d_model: shape of the largest encoder states.
    """

    slots: int
    n_mels: int
    n_frames: int
    n_states: int
    d_model: int

    @classmethod
    def of(cls, slots: int, dimensions: EncoderDimensions) -> SlabLayout:
        """Return the layout whose slots have room for any window of a model."""
        return cls(slots, dimensions.n_mels, N_FRAMES, dimensions.n_audio_ctx, dimensions.d_model)

    def capacity(self, area: Area) -> int:
        """Return how many float32 values an area has room for."""
        if area is Area.LOG_MEL:
            return self.n_mels * self.n_frames
        return self.n_states * self.d_model

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot."""
        return sum(_whole_pages(4 * self.capacity(area)) for area in Area)

    @property
    def first_slot(self) -> int:
        """Where the first slot begins, in bytes from the start of the file."""
        return HEADER_BYTES + _whole_pages(RECORD_BYTES * self.slots)

    @property
    def total_bytes(self) -> int:
        """Bytes of the file."""
        return self.first_slot + self.slots * self.slot_bytes

    def offset(self, slot: int, area: Area) -> int:
        """Return where an area of a slot begins, in bytes from the start of the file."""
        start = self.first_slot + slot * self.slot_bytes
        return start if area is Area.LOG_MEL else start + _whole_pages(4 * self.capacity(Area.LOG_MEL))


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


class Slab:
    """A mapping of the slab file. The ingress creates it and grants slots; stages attach to it by path."""

    def __init__(self, path: Path, layout: SlabLayout, memory: mmap.mmap) -> None:
        self.path = path
        self.layout = layout
        self._memory = memory
        records = np.frombuffer(memory, np.uint64, layout.slots * RECORD_BYTES // 8, HEADER_BYTES)
        self._records = records.reshape(layout.slots, RECORD_BYTES // 8)

    @classmethod
    def create(cls, path: Path, layout: SlabLayout) -> Slab:
        """Make the file with all its memory reserved, so that no later write can fail for lack of space.

        Raises:
            ConfigurationError: the directory's file system has too little space; the message says how to get more.
        """
        _check_space(path.parent, layout)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, layout.total_bytes)
            memory = _map(descriptor, layout.total_bytes)
        finally:
            os.close(descriptor)
        header = np.frombuffer(memory, np.uint64, 1 + len(astuple(layout)))
        header[:] = (MAGIC, *astuple(layout))
        return cls(path, layout, memory)

    @classmethod
    def attach(cls, path: Path) -> Slab:
        """Map an existing slab.

        Raises:
            SlotViolationError: the file is gone, or is no slab: the ingress that made it has ended.
        """
        descriptor = _open(path)
        try:
            memory = _map(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
        magic, *layout = (int(value) for value in np.frombuffer(memory, np.uint64, 6))
        if magic != MAGIC:
            raise SlotViolationError("The slab of this request cannot be read; try again")
        return cls(path, SlabLayout(*layout), memory)

    def grant(self, slot: int) -> int:
        """Start a new use of the slot, and return its generation."""
        self._records[slot, GENERATION] += np.uint64(1)
        return int(self._records[slot, GENERATION])

    def take_back(self, slot: int) -> None:
        """End the use of the slot: from now on every access with the old generation is a violation."""
        self._records[slot, GENERATION] += np.uint64(1)

    def cancel(self, slot: int, generation: int) -> None:
        """Tell the stages not to begin further work on this use of the slot."""
        self._records[slot, CANCELLED] = generation

    def is_cancelled(self, slot: int, generation: int) -> bool:
        """Return whether this use of the slot was cancelled."""
        return bool(self._records[slot, CANCELLED] == generation)

    def check_generation(self, slot: int, generation: int) -> None:
        """Refuse an access with an old generation.

        Raises:
            SlotViolationError: the slot has passed to another request.
        """
        if self._records[slot, GENERATION] != generation:
            raise SlotViolationError("The request's memory was reused before this stage ended; try again")

    def view(self, slot: int, generation: int, area: Area, shape: tuple[int, int]) -> Float32:
        """Return a writable, C-contiguous float32 view of an area's first ``shape`` values, without a copy.

        Raises:
            SlotViolationError: the slot has passed to another request.
            ValueError: ``shape`` does not fit into the area.
        """
        self.check_generation(slot, generation)
        size = shape[0] * shape[1]
        if size > self.layout.capacity(area):
            raise ValueError(f"An array of shape {shape} does not fit into a slot's {area}")
        return np.frombuffer(self._memory, np.float32, size, self.layout.offset(slot, area)).reshape(shape)

    @contextmanager
    def writing(self, slot: int, generation: int, area: Area, shape: tuple[int, int]) -> Iterator[Float32]:
        """Yield a view to write into; the slot passes to nobody else while the context lasts.

        Raises:
            StageLostError: an earlier call, which seemed dead, still writes into the slot.
            SlotViolationError: the slot has passed to another request, or the slab is gone.
            ValueError: ``shape`` does not fit into the area.
        """
        descriptor = _open(self.path)
        try:
            _lock(descriptor, slot)
            yield self.view(slot, generation, area, shape)
        finally:
            os.close(descriptor)  # the only one of its open file description: the lock ends with it

    def is_written(self, slot: int) -> bool:
        """Return whether any process, this one included, is within ``writing`` of the slot.

        Raises:
            OSError: it cannot be known now: this process, or the machine, has no descriptor left.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # removed when the service stopped: nobody begins to use it any more
            return False
        try:
            answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _write_lock(slot))
        finally:
            os.close(descriptor)
        return bool(struct.unpack_from(FLOCK, answer)[0] != fcntl.F_UNLCK)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise SlotViolationError("The slab of this request is gone; try again") from error


def _lock(descriptor: int, slot: int) -> None:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _write_lock(slot))
    except OSError as error:
        if error.errno not in {errno.EAGAIN, errno.EACCES}:
            raise
        raise StageLostError("An earlier attempt is still at work; try again", retry_after_s=1) from error


def _write_lock(slot: int) -> bytes:
    return struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, slot, 1, 0)


def _map(descriptor: int, size: int) -> mmap.mmap:
    # Populated at once: a page fault in the middle of a request costs more than at the start.
    return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)


def _check_space(directory: Path, layout: SlabLayout) -> None:
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if free < layout.total_bytes:
        raise ConfigurationError(
            f"The slab needs {layout.total_bytes >> 20} MiB for {layout.slots} slots, but shared_memory_dir has "
            f"{free >> 20} MiB free; lower AMANUENSIS_SLOTS, enlarge /dev/shm (docker: --shm-size), "
            "or set AMANUENSIS_SHARED_MEMORY_DIR"
        )
