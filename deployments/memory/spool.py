"""Private files for what does not fit into a slot: the upload, and the decoded audio of a long file."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployments.errors import OutOfSpaceError

PCM_SUFFIX = ".pcm"
UPLOAD_SUFFIX = ".upload"
RETRY_AFTER_S = 1.0


def write_blob(directory: Path, data: bytes | memoryview, suffix: str) -> Path:
    """Writes ``data`` to a new file with an unguessable name and mode 0600.

    Raises:
        OutOfSpaceError: it does not fit; nothing is left of it.
    """
    descriptor, name = tempfile.mkstemp(suffix=suffix, dir=directory)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            view = memoryview(data).cast("B")
            while view:
                view = view[file.write(view) :]
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        if error.errno != errno.ENOSPC:
            raise
        message = "the requests in flight leave no room for this one; try again later"
        raise OutOfSpaceError(message, retry_after_s=RETRY_AFTER_S) from error
    return Path(name)


def read_pcm(path: Path, start: int, stop: int) -> NDArray[np.int16]:
    """Samples ``[start, stop)`` of a file of int16 samples, without reading the rest."""
    return np.fromfile(path, np.int16, count=stop - start, offset=2 * start)
