"""Private files for what does not fit into a slot: the upload, and the decoded audio of a long file.

Each request has a directory of its own, with a name that nobody can guess. The directory is removed with all files that
calls of the request put there, even those of calls that died; a call that comes later finds no directory.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployments.shared.errors import OutOfSpaceError, RequestCancelledError
from deployments.shared.frames import SAMPLE_RATE

REQUEST_PREFIX = "request-"
UPLOAD = "upload"
PCM_SUFFIX = ".pcm"
RETRY_AFTER_S = 1.0
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def write_upload(directory: Path, data: bytes) -> Path:
    """Write ``data`` to a new file of mode 0600 in a new directory below ``directory``.

    Raises:
        OutOfSpaceError: the data does not fit; nothing is left of it.
    """
    with room_needed():
        path = Path(tempfile.mkdtemp(prefix=REQUEST_PREFIX, dir=directory)) / UPLOAD
        try:
            _write(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), data)
        except BaseException:
            remove(path)
            raise
    return path


def write_pcm(upload: Path, pcm: NDArray[np.int16]) -> Path:
    """Write decoded audio to a new file beside its upload.

    Raises:
        OutOfSpaceError: the audio does not fit.
        RequestCancelledError: the upload was removed.
    """
    with room_needed():
        try:
            descriptor, name = tempfile.mkstemp(suffix=PCM_SUFFIX, dir=upload.parent)
        except FileNotFoundError as error:
            raise RequestCancelledError.given_up() from error
        _write(descriptor, pcm.data)
    return Path(name)


def pcm_bytes(seconds: float) -> int:
    """Return the size of decoded audio of this length."""
    return round(seconds * SAMPLE_RATE) * np.dtype(np.int16).itemsize


def remove(upload: Path) -> None:
    """Delete an upload and what was written beside it; do nothing if that has happened already."""
    while True:
        try:
            for path in upload.parent.iterdir():
                path.unlink(missing_ok=True)
            upload.parent.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # which means that a call that was given up wrote just now
                raise
        else:
            return


def read_pcm(path: Path, start: int, stop: int) -> NDArray[np.int16]:
    """Read samples ``[start, stop)`` of a file of int16 samples, and no others."""
    return np.fromfile(path, np.int16, count=stop - start, offset=2 * start)


def mapped_pcm(path: Path, samples: int) -> NDArray[np.int16]:
    """Return the first samples of a file of int16 samples; they are read where they are looked at.

    Raises:
        RequestCancelledError: the file was removed.
    """
    if not samples:
        return np.empty(0, np.int16)
    try:
        return np.memmap(path, np.int16, "r", shape=(samples,))
    except FileNotFoundError as error:
        raise RequestCancelledError.given_up() from error


def _write(descriptor: int, data: bytes | memoryview) -> None:
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        view = memoryview(data).cast("B")
        while view:
            view = view[file.write(view) :]


@contextmanager
def room_needed() -> Iterator[None]:
    """Say in a word that a client understands that what is written within the context does not fit.

    Raises:
        OutOfSpaceError: the file system, or the user's share of it, is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        message = "The requests in flight leave no room for this one; try again later"
        raise OutOfSpaceError(message, retry_after_s=RETRY_AFTER_S) from error
