"""A form with a file in it, read from the disk while it is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import requests

from deployments.commands.errors import CommandError

CHUNK_BYTES = 128 * 1024
NOWHERE = "http://localhost"


class FormWithFile:
    """The body of a request, as ``requests`` sends one: its parts in order, and its length in bytes.

    ``requests`` itself would read the whole file into memory. So it writes the form with an empty file, and the bytes
    of the file are sent at that place.

    Attributes:
        content_type: to be sent with it.

    Args:
        path: the file, field ``file`` of the form.
        fields: the other fields, which come first.
        sent: is told how many bytes of the file have been sent, and how many there are.

    Raises:
        OSError: there is no such file.
    """

    def __init__(self, path: Path, fields: Sequence[tuple[str, str]], sent: Callable[[int, int], None]) -> None:
        name = path.name.encode("utf-8", "replace").decode()
        form = requests.Request("POST", NOWHERE, data=list(fields), files={"file": (name, b"")}).prepare()
        if not isinstance(form.body, bytes):
            raise TypeError("a form is written as bytes")
        self.content_type = form.headers["content-type"]
        self._before, boundary, end = form.body.rpartition(b"\r\n--")
        self._after = boundary + end
        self._path = path
        self._file_bytes = path.stat().st_size
        self._sent = sent

    def __len__(self) -> int:
        return len(self._before) + self._file_bytes + len(self._after)

    def __iter__(self) -> Iterator[bytes]:
        yield self._before
        try:
            yield from self._content()
        except OSError as error:
            raise CommandError(f"{self._path} cannot be read: {error.strerror}") from error
        yield self._after

    def _content(self) -> Iterator[bytes]:
        sent = 0
        with self._path.open("rb") as file:
            while sent < self._file_bytes:
                chunk = file.read(min(CHUNK_BYTES, self._file_bytes - sent))
                if not chunk:
                    raise CommandError(f"{self._path} became shorter while it was sent")
                yield chunk
                sent += len(chunk)
                self._sent(sent, self._file_bytes)
