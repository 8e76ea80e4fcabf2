"""Private files for what does not fit into a slot: the upload, and the decoded audio of a long file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PCM_SUFFIX = ".pcm"
UPLOAD_SUFFIX = ".upload"


def write_blob(directory: Path, data: bytes | memoryview, suffix: str) -> Path:
    """Writes ``data`` to a new file with an unguessable name and mode 0600."""
    descriptor, name = tempfile.mkstemp(suffix=suffix, dir=directory)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        view = memoryview(data).cast("B")
        while view:
            view = view[file.write(view) :]
    return Path(name)


def read_pcm(path: Path, start: int, stop: int) -> NDArray[np.int16]:
    """Samples ``[start, stop)`` of a file of int16 samples, without reading the rest."""
    return np.fromfile(path, np.int16, count=stop - start, offset=2 * start)
