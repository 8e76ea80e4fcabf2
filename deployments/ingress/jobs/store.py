"""Jobs on disk, in a directory that several processes may share. Synchronous, and safe from any thread.

A job has up to three files: ``.job`` is what is known of it, ``.audio`` the upload until the job has ended,
``.response`` the answer then. A job is there as soon as its ``.job`` is. Whoever changes one holds the lock of the
directory for that moment; reading takes no lock, because files are replaced as a whole.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from deployments.ingress.jobs.job import End, Job, Status, StoredJob, is_id
from deployments.ingress.jobs.kept_response import KeptResponse
from deployments.ingress.jobs.private_files import (
    PART_SUFFIX,
    locked,
    part_of,
    sync_directory,
    try_lock,
    write_part,
    write_whole,
)
from deployments.ingress.jobs.turns import next_job
from deployments.shared.errors import AmanuensisError, ConfigurationError, JobAbandonedError, JobsFullError
from deployments.shared.memory.spool import FULL
from deployments.shared.settings import Settings

JOB_SUFFIX, AUDIO_SUFFIX, RESPONSE_SUFFIX = ".job", ".audio", ".response"
STORE_LOCK, RUNNER_LOCK = "store.lock", "runner.lock"
PRIVATE = 0o700
ABANDONED_S = 3600.0
"""Nobody writes an upload for this long: one that is older and belongs to no job was left behind by a killed writer."""

Version = tuple[int, int, int]
"""Changes with each replacement of a file."""

logger = logging.getLogger("ray.serve")


class JobStore:
    """The jobs of a service.

    Args:
        directory: its own; made where it is not there, and closed to other users.
        max_jobs: jobs that may be there, those that have ended too.
        max_bytes: size of all files up to which jobs are taken.
        kept_s: seconds for which a job stays after its end.
        clock: seconds since the epoch.

    Attributes:
        ended: jobs that ended by this store, by how.

    Raises:
        ConfigurationError: the directory cannot be used.
    """

    def __init__(
        self, directory: Path, max_jobs: int, max_bytes: int, kept_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.directory = directory
        self.max_jobs = max_jobs
        self.max_bytes = max_bytes
        self.kept_s = kept_s
        self.ended: Counter[Status] = Counter()
        self._clock = clock
        self._known: dict[str, tuple[Version, StoredJob | None]] = {}
        try:
            directory.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            directory.chmod(PRIVATE)
        except OSError as error:
            raise ConfigurationError(
                f"The directory of jobs {directory} cannot be used: {error.strerror}; name in jobs_dir one that the "
                "service may make for itself"
            ) from error

    @classmethod
    def of(cls, settings: Settings) -> JobStore | None:
        """Return the store that the settings name; None where they name none.

        Raises:
            ConfigurationError: its directory cannot be used.
        """
        if settings.jobs_dir is None:
            return None
        return cls(settings.jobs_dir, settings.max_jobs, settings.max_jobs_bytes, settings.jobs_kept_s)

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def refuse_if_full(self, jobs: int, size: int) -> None:
        """Refuse so many more jobs, whose uploads have ``size`` bytes together, if there is no room for them.

        Raises:
            JobsFullError: there is not.
        """
        sizes = self._sizes()
        known = sum(name.endswith(JOB_SUFFIX) for name in sizes)
        if known + jobs > self.max_jobs:
            raise JobsFullError.too_many(self.max_jobs)
        if sum(sizes.values()) + size > self.max_bytes:
            raise JobsFullError.too_large()

    def add(self, stored: StoredJob, audio: IO[bytes]) -> None:
        """Take a job. When this returns, neither a crash nor a power cut loses it.

        Raises:
            JobsFullError: there is no room for it; nothing is left of it.
        """
        path = self._path(stored.id, AUDIO_SUFFIX)
        try:
            write_part(path, audio)
            with self._exclusive():
                self.refuse_if_full(1, 0)
                part_of(path).rename(path)
                self._write(stored)
        except BaseException as error:
            for left in (part_of(path), path, self._path(stored.id, JOB_SUFFIX)):
                left.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in FULL:
                raise JobsFullError.too_large() from error
            raise

    def get(self, job_id: str) -> StoredJob | None:
        """Return one job; None where there is none."""
        if not is_id(job_id):
            return None
        try:
            return _parsed(self._path(job_id, JOB_SUFFIX).read_bytes())
        except FileNotFoundError:
            return None

    def all(self) -> list[StoredJob]:
        """Return all jobs, oldest first; reads only what has changed since the last time."""
        known = {job_id: self._read_again(job_id, version) for job_id, version in self._versions()}
        self._known = known
        found = [stored for _, stored in known.values() if stored is not None]
        return sorted(found, key=lambda stored: stored.job.created_at)

    def audio(self, job_id: str) -> bytes:
        """Return the upload of a job that has not ended.

        Raises:
            FileNotFoundError: it has ended.
        """
        return self._path(job_id, AUDIO_SUFFIX).read_bytes()

    def response(self, job_id: str) -> KeptResponse | None:
        """Return the answer to a job; None where there is none."""
        try:
            return KeptResponse.decode(self._path(job_id, RESPONSE_SUFFIX).read_bytes())
        except FileNotFoundError:
            return None

    def begin_next(self) -> StoredJob | None:
        """Begin the job whose turn it is, and return it; None where none waits."""
        with self._exclusive():
            waiting = next_job(self.all())
            if waiting is None:
                return None
            begun = waiting.begun(self.now())
            self._write(begun)
            return begun

    def change(
        self, job_id: str, change: Callable[[StoredJob], StoredJob], *, durable: bool = True
    ) -> StoredJob | None:
        """Replace a job by what ``change`` makes of it, and return that; None where there is no such job."""
        with self._exclusive():
            stored = self.get(job_id)
            if stored is None:
                return None
            changed = change(stored)
            if changed != stored:
                self._write(changed, durable=durable)
            if changed.job.has_ended and not stored.job.has_ended:
                self.ended[changed.job.status] += 1
                self._path(job_id, AUDIO_SUFFIX).unlink(missing_ok=True)
            return changed

    def finish(
        self, job_id: str, status: End, response: KeptResponse, error: AmanuensisError | None = None
    ) -> StoredJob | None:
        """End a running job with its answer, and return it; a job that runs no more stays as it is."""
        return self.change(job_id, lambda stored: self._answered(stored, status, response, error))

    def lose(self, job_id: str, error: AmanuensisError | None = None) -> StoredJob | None:
        """Have a job wait again whose run was lost by the service's fault, or fail if that was its last, and return it.

        Args:
            error: that ended the run; None where the process died.
        """
        return self.change(job_id, lambda stored: self._lost(stored, error or JobAbandonedError.after_lost_runs()))

    def cancel(self, job_id: str) -> StoredJob | None:
        """End a job without an answer; one that has ended stays as it is. Return it."""
        return self.change(job_id, lambda stored: stored.ended("cancelled", self.now()))

    def delete(self, job_id: str) -> bool:
        """Delete all files of a job; return whether there was one."""
        with self._exclusive():
            if self.get(job_id) is None:
                return False
            for suffix in (JOB_SUFFIX, RESPONSE_SUFFIX, AUDIO_SUFFIX):
                self._path(job_id, suffix).unlink(missing_ok=True)
            sync_directory(self.directory)
            return True

    def delete_old(self) -> None:
        """Delete jobs that ended long ago, and what killed writers left behind."""
        for stored in self.all():
            if _has_expired(stored.job, self._clock() - self.kept_s):
                self.delete(stored.id)
        with self._exclusive():
            for path in self._abandoned():
                path.unlink(missing_ok=True)

    def try_runner_lock(self) -> IO[bytes] | None:
        """Return the right to run jobs, until it is closed or the process ends; None while another process has it."""
        return try_lock(self.directory / RUNNER_LOCK)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with locked(self.directory / STORE_LOCK):
            yield

    def _answered(
        self, stored: StoredJob, status: End, response: KeptResponse, error: AmanuensisError | None
    ) -> StoredJob:
        if not stored.is_running:
            return stored
        write_whole(self._path(stored.id, RESPONSE_SUFFIX), response.encode())
        return stored.ended(status, self.now(), error)

    def _lost(self, stored: StoredJob, error: AmanuensisError) -> StoredJob:
        if stored.is_last_run:
            return self._answered(stored, "failed", KeptResponse.of_error(error), error)
        return stored.lost()

    def _write(self, stored: StoredJob, *, durable: bool = True) -> None:
        write_whole(self._path(stored.id, JOB_SUFFIX), stored.model_dump_json().encode(), durable=durable)

    def _read_again(self, job_id: str, version: Version) -> tuple[Version, StoredJob | None]:
        known = self._known.get(job_id)
        return known if known is not None and known[0] == version else (version, self.get(job_id))

    def _versions(self) -> Iterator[tuple[str, Version]]:
        for entry in os.scandir(self.directory):
            job_id = entry.name.removesuffix(JOB_SUFFIX)
            status = _status(entry) if entry.name.endswith(JOB_SUFFIX) and is_id(job_id) else None
            if status is not None:
                yield job_id, (status.st_ino, status.st_mtime_ns, status.st_size)

    def _sizes(self) -> dict[str, int]:
        found = ((entry.name, _status(entry)) for entry in os.scandir(self.directory))
        return {name: status.st_size for name, status in found if status is not None}

    def _abandoned(self) -> Iterator[Path]:
        before = self._clock() - ABANDONED_S
        for entry in os.scandir(self.directory):
            status = _status(entry)
            if status is not None and status.st_mtime < before and self._belongs_to_no_job(entry.name):
                yield Path(entry.path)

    def _belongs_to_no_job(self, name: str) -> bool:
        job_id, _, _ = name.partition(".")
        is_whole = not name.endswith(PART_SUFFIX) and self._path(job_id, JOB_SUFFIX).exists()
        return is_id(job_id) and not is_whole

    def _path(self, job_id: str, suffix: str) -> Path:
        return self.directory / (job_id + suffix)


def _parsed(content: bytes) -> StoredJob | None:
    try:
        return StoredJob.model_validate_json(content)
    except ValidationError as error:  # written by another version, or by hand
        logger.error("A job cannot be read and is left alone: %s", error)  # noqa: TRY400  (the message is all there is)
        return None


def _has_expired(job: Job, ended_before: float) -> bool:
    return job.finished_at is not None and job.finished_at.timestamp() < ended_before


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # deleted since
        return None
