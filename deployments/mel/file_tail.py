"""The end of a file, as a file of its own."""

from __future__ import annotations

import io
from typing import BinaryIO, cast


def file_tail(source: BinaryIO, start: int) -> BinaryIO:
    """Return what stands in ``source`` from ``start`` on, in bytes; nothing is copied, closing it is not needed."""
    return cast("BinaryIO", _FileTail(source, start))


class _FileTail:
    """Reads as a file does; positions count from the start of the tail."""

    def __init__(self, source: BinaryIO, start: int) -> None:
        self._source = source
        self._start = start
        source.seek(start)

    def read(self, size: int = -1) -> bytes:
        return self._source.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = self._source.seek(self._start + offset if whence == io.SEEK_SET else offset, whence)
        return position - self._start

    def tell(self) -> int:
        return self._source.tell() - self._start
