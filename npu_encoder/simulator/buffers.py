"""Buffers with two images: one that the host sees and one that the device sees."""

from __future__ import annotations

import hashlib
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

POISON = 0x7FC05AA5
"""NaN as float32 and as bf16, beyond any product as int32: memory that nobody wrote cannot pass for data."""

Bytes = NDArray[np.uint8]


class Buffer:
    """A piece of memory. Only ``to_device`` and ``from_device`` make its two images alike.

    Args:
        size: number of bytes.
        flags: the flags that the program gave.
        group: memory group that it was made for.
        shared: whether host and device see the same image, as they do on the hardware once caches are flushed: a
            synchronisation then costs nothing, and a forgotten one goes unnoticed.

    Attributes:
        host: the host's image, ``[size]``.
        device: the device's image, ``[size]``.
        readers: commands in flight that use it.
        uploads: calls of ``to_device`` so far.
    """

    def __init__(self, size: int, flags: int, group: int, *, shared: bool = False) -> None:
        self.flags = flags
        self.group = group
        self.host = _poisoned(size)
        self.device = self.host if shared else self.host.copy()
        self.readers = 0
        self.uploads = 0
        self._digests: dict[int, str] = {}

    @property
    def size(self) -> int:
        return len(self.host)

    def clone(self, group: int) -> Buffer:
        """Return a copy of the device's image for another memory group. What is written into it stays there."""
        copy = Buffer(self.size, self.flags, group)
        copy.host[:] = copy.device[:] = self.device
        return copy

    def to_device(self, size: int, offset: int) -> None:
        """Copy a part of the host's image to the device's."""
        part = self._part(size, offset, "sync")
        self.uploads += 1
        self._digests.clear()
        if self.device is not self.host:
            self.device[part] = self.host[part]

    def from_device(self, size: int, offset: int) -> None:
        """Copy a part of the device's image to the host's."""
        part = self._part(size, offset, "sync")
        if self.device is not self.host:
            self.host[part] = self.device[part]

    def device_digest(self, size: int) -> str:
        """Return the SHA-256 of the first ``size`` bytes of the device's image; computed once per upload."""
        if size not in self._digests:
            self._digests[size] = hashlib.sha256(self.device[:size].data).hexdigest()
        return self._digests[size]

    def write(self, data: Bytes, seek: int) -> None:
        """Copy ``data`` into the host's image.

        Raises:
            RuntimeError: if it does not fit.
        """
        self.host[self._part(len(data), seek, "write")] = data

    def read(self, size: int, skip: int) -> NDArray[np.int8]:
        """Copy a part of the host's image.

        Raises:
            RuntimeError: if it is not all within the buffer.
        """
        return self.host[self._part(size, skip, "read")].view(np.int8).copy()

    def _part(self, size: int, offset: int, what: str) -> slice:
        if size < 0 or offset < 0:
            raise TypeError(f"{what}(): incompatible function arguments")
        if size + offset > self.size:
            raise RuntimeError(f"attempting to {what} past buffer size: Invalid argument")
        return slice(offset, offset + size)


def poison_when_dead(owner: object, buffer: Buffer) -> None:
    """Poison the host's image once ``owner`` is gone: a view does not keep a buffer alive, and it shall be seen."""
    weakref.finalize(owner, _poison, buffer.host).atexit = False


def raw_bytes(data: Any) -> tuple[Bytes, bool]:
    """Return the bytes that pybind11 passes on: as many as the array has, from its first one on, strides ignored.

    Returns:
        The bytes, and whether they are the array's.
    """
    array = np.asarray(memoryview(data))
    if array.flags.c_contiguous:
        return array.reshape(-1).view(np.uint8), True
    if min(array.strides) > 0:
        # With positive strides the elements spread over at least as many bytes as they have.
        window = np.lib.stride_tricks.as_strided(array, (array.size,), (array.itemsize,), writeable=False)
        return window.copy().view(np.uint8), False
    return _poisoned(array.nbytes), False


def _poisoned(size: int) -> Bytes:
    image = np.empty(size, np.uint8)
    _poison(image)
    return image


def _poison(image: Bytes) -> None:
    whole = len(image) // 4 * 4
    image[:whole].view(np.uint32)[:] = POISON
    image[whole:] = 0xA5
