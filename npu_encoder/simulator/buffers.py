"""Buffers with two images: what the host sees and what the device sees."""

from __future__ import annotations

import hashlib
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

# As float32 and as bf16 it is NaN, as int32 it is beyond any product: memory that nobody wrote cannot pass for data.
POISON = 0x7FC05AA5

Bytes = NDArray[np.uint8]


class Buffer:
    """Memory of the device. Only ``to_device`` and ``from_device`` make the two images alike.

    Args:
        size: in bytes.
        flags: as given by the program.
        group: memory group that it was made for.
        shared: host and device see the same image, as they do on the hardware once caches are flushed: a
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
        """SHA-256 of the first ``size`` bytes of the device's image; computed once an upload."""
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
        """A copy of a part of the host's image.

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
    """A view of a buffer does not keep it alive: once ``owner`` is gone, whoever looks into one shall see it."""
    weakref.finalize(owner, _poison, buffer.host).atexit = False


def raw_bytes(data: Any) -> tuple[Bytes, bool]:
    """The bytes that pybind11 passes on: as many as the array has, from its first one on, strides ignored.

    Returns:
        The bytes and whether they are the array's.
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
