"""The failure log on disk: one file per record, there whole or not at all, the oldest deleted first.

A file is one line of JSON, the record, and after it the audio's bytes where they are kept. Its name is the record's id,
so names sort by time. Records are not synced: a power cut may cost the latest, and leave files that are torn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from deployments.ingress.failures.record import Failure, is_id
from deployments.shared.errors import ConfigurationError

RECORD_SUFFIX = ".failure"
PART_SUFFIX = ".part"
ABANDONED_S = 600.0
"""No writer takes this long: a part that is older was left behind by one that died."""

MAX_LINE_BYTES = 2**20


def state_directory() -> Path:
    """Return where a service of this user keeps its failure log unless told otherwise.

    Raises:
        ConfigurationError: the user has no home directory.
    """
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    except RuntimeError as error:
        raise ConfigurationError(
            "There is no home directory for the failure log; set AMANUENSIS_FAILURE_LOG_DIR, "
            "or AMANUENSIS_FAILURE_LOG_MAX_RECORDS=0 for none"
        ) from error
    return Path(state) / "amanuensis" / "failures"


class FailureLog:
    """A directory of records that any number of processes may share. Synchronous; one writing thread per process.

    A process looks at what others wrote each time it has itself written a tenth of the bounds: n processes exceed them
    by n - 1 tenths at most.
    """

    def __init__(
        self, directory: Path, max_records: int, max_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self.directory = directory
        self.max_records = max_records
        self.max_bytes = max_bytes
        self._clock = clock
        self._records_left = 0
        self._bytes_left = 0

    def add(self, failure: Failure, audio: bytes = b"") -> None:
        """Write one record and delete the oldest that it leaves no room for.

        Args:
            failure: says with ``audio_kept`` whether there is audio.
            audio: ``audio_bytes`` of it, or empty.

        Raises:
            ValueError: the record alone is larger than the log may be.
            OSError: the disk is full, or the directory cannot be written to. Nothing is left behind.
        """
        line = failure.model_dump_json().encode() + b"\n"
        size = len(line) + len(audio)
        if size > self.max_bytes:
            raise ValueError(f"a record of {size} bytes does not fit into a failure log of {self.max_bytes}")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_room(size)
        self._write(failure.id, line, audio)

    def page(self, limit: int, before: str | None = None) -> tuple[list[Failure], bool]:
        """Return the newest ``limit`` records, all older than the id ``before``, and whether there are more."""
        ids = [name for name in reversed(self._ids()) if before is None or name < before]
        readable = (failure for failure in map(self.get, ids) if failure is not None)
        found = list(islice(readable, limit + 1))
        return found[:limit], len(found) > limit

    def get(self, failure_id: str) -> Failure | None:
        """Return one record; None where there is none, or a torn one."""
        found = self._read(failure_id)
        return found and found[0]

    def audio(self, failure_id: str) -> bytes | None:
        """Return the audio of one record; None where it was not kept."""
        found = self._read(failure_id)
        if found is None or not found[0].audio_kept:
            return None
        failure, offset = found
        try:
            content = self._path(failure_id).read_bytes()
        except FileNotFoundError:  # deleted since
            return None
        return content[offset : offset + failure.audio_bytes]

    def delete(self, failure_id: str) -> bool:
        """Delete a record; return whether there was one."""
        if not is_id(failure_id):
            return False
        try:
            self._path(failure_id).unlink()
        except FileNotFoundError:
            return False
        return True

    def _read(self, failure_id: str) -> tuple[Failure, int] | None:
        """Return the record and the length of its line."""
        if not is_id(failure_id):
            return None
        try:
            with self._path(failure_id).open("rb") as file:
                line = file.readline(MAX_LINE_BYTES)
                size = os.fstat(file.fileno()).st_size
            failure = Failure.model_validate_json(line)
        except (FileNotFoundError, ValidationError):
            return None
        expected = len(line) + (failure.audio_bytes if failure.audio_kept else 0)
        return (failure, len(line)) if size == expected else None

    def _take_room(self, size: int) -> None:
        if self._records_left < 1 or self._bytes_left < size:
            self._make_room(size)
        self._records_left -= 1
        self._bytes_left -= size

    def _make_room(self, size: int) -> None:
        """Delete the oldest until a tenth of both bounds is free, and at least one record of ``size``."""
        self._records_left = max(1, self.max_records // 10)
        self._bytes_left = max(size, self.max_bytes // 10)
        self._delete_abandoned_parts()
        sizes = {failure_id: self._size(failure_id) for failure_id in self._ids()}
        records, total = len(sizes), sum(sizes.values())
        for failure_id, record_size in sizes.items():
            fits = records + self._records_left <= self.max_records and total + self._bytes_left <= self.max_bytes
            if fits:
                return
            self.delete(failure_id)
            records, total = records - 1, total - record_size

    def _delete_abandoned_parts(self) -> None:
        for part in self.directory.glob("*" + PART_SUFFIX):
            with suppress(FileNotFoundError):  # renamed or deleted since
                if self._clock() - part.stat().st_mtime > ABANDONED_S:
                    part.unlink()

    def _write(self, failure_id: str, line: bytes, audio: bytes) -> None:
        part = self.directory / (failure_id + PART_SUFFIX)
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(line)
                file.write(audio)
            part.rename(self._path(failure_id))
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def _ids(self) -> list[str]:
        """Return the ids of all records, torn ones too, oldest first."""
        try:
            names = [path.name for path in self.directory.iterdir()]
        except FileNotFoundError:  # nothing failed yet
            return []
        ids = (name.removesuffix(RECORD_SUFFIX) for name in names if name.endswith(RECORD_SUFFIX))
        return sorted(filter(is_id, ids))

    def _size(self, failure_id: str) -> int:
        try:
            return self._path(failure_id).stat().st_size
        except FileNotFoundError:  # deleted by another process
            return 0

    def _path(self, failure_id: str) -> Path:
        return self.directory / (failure_id + RECORD_SUFFIX)
