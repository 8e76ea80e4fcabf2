"""Runs the jobs of a directory: so many at once, each until it ends, whatever happens to the service in between.

Of several ingress replicas that share a directory, one runs its jobs; any of them takes, shows and cancels them. A job
that runs according to the disk and not here was lost with the process that ran it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import IO

from deployments.ingress.jobs.callback import Callbacks
from deployments.ingress.jobs.job import JobProgress, Status, StoredJob
from deployments.ingress.jobs.kept_response import KeptResponse
from deployments.ingress.jobs.patience import is_lost, is_refused, wait_s
from deployments.ingress.jobs.store import JobStore
from deployments.ingress.periodic import repeat
from deployments.shared.errors import AmanuensisError

POLL_S = 1.0
"""How soon what another process did is seen, and what a run has done so far can be."""

DELETE_PERIOD_S = 60.0

Report = Callable[[JobProgress], None]
Work = Callable[[StoredJob, bytes, Report], Awaitable[KeptResponse]]
"""Answers a job whose audio these bytes are, and reports how far it has come."""

logger = logging.getLogger("ray.serve")


class JobRunner:
    """Lives in the ingress's event loop.

    Args:
        store: the jobs.
        at_once: jobs that run at the same time.
        callbacks: who is told of their ends.
        is_ready: whether the service would serve a request now.

    Attributes:
        counts: jobs on disk by status, as they were found last.
    """

    def __init__(self, store: JobStore, at_once: int, callbacks: Callbacks, is_ready: Callable[[], bool]) -> None:
        self.store = store
        self.callbacks = callbacks
        self.counts: Counter[Status] = Counter()
        self._at_once = at_once
        self._is_ready = is_ready
        self._lock: IO[bytes] | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._progress: dict[str, JobProgress] = {}
        self._uploads: list[int] = []
        self._wake = asyncio.Event()
        self._turning = asyncio.Lock()
        self._paused = False
        self._resume_at = 0.0
        self._delete_at = 0.0

    @asynccontextmanager
    async def running(self, work: Work) -> AsyncIterator[None]:
        """Run jobs while the context lasts; those that are under way at its end wait for the next one."""

        async def turn() -> None:
            await self._wait()
            async with self._turning:
                await self._turn(work)

        self.wake()
        turns = asyncio.create_task(repeat(turn, 0.0, "The running of jobs"))
        try:
            yield
        finally:
            await self.pause()
            turns.cancel()
            await asyncio.gather(turns, return_exceptions=True)
            await self.callbacks.close()
            if self._lock is not None:
                self._lock.close()

    @asynccontextmanager
    async def uploading(self, size: int) -> AsyncIterator[None]:
        """Keep room for one more job while it is uploaded.

        Args:
            size: most bytes that it will have.

        Raises:
            JobsFullError: there is no room.
        """
        self._uploads.append(size)
        try:
            await asyncio.to_thread(self.store.refuse_if_full, len(self._uploads), sum(self._uploads))
            yield
        finally:
            self._uploads.remove(size)

    def wake(self) -> None:
        """Look for something to do now."""
        self._wake.set()

    async def cancel(self, job_id: str) -> StoredJob | None:
        """End a job without an answer, at once where it runs here; return it, None where there is none."""
        async with self._turning:  # or else a run that is just begun would miss it
            cancelled = await asyncio.to_thread(self.store.cancel, job_id)
            running = self._running.get(job_id)
            if running is not None:
                running.cancel()
        self.wake()
        return cancelled

    async def pause(self) -> None:
        """Begin no more jobs, and have those that run wait for the next start."""
        self._paused = True
        async with self._turning:  # or else a turn would take for lost what is not put back yet
            stopped = dict(self._running)
            for task in stopped.values():
                task.cancel()
            await asyncio.gather(*stopped.values(), return_exceptions=True)
            for job_id in stopped:
                await self._put_back(job_id)

    async def _put_back(self, job_id: str) -> None:
        try:
            await asyncio.to_thread(self.store.change, job_id, StoredJob.put_back)
        except OSError as error:  # which must not hold up a stop
            logger.error("The run of job %s counts as lost: %s", job_id, error.strerror)  # noqa: TRY400

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        self._wake.clear()

    async def _turn(self, work: Work) -> None:
        jobs = await asyncio.to_thread(self.store.all)
        self.counts = Counter(stored.job.status for stored in jobs)
        if not self._is_runner():
            return
        await self._save_progress()
        await self._recover(jobs)
        self.callbacks.send_all(jobs)
        await self._begin_jobs(work)
        await self._delete_old()

    def _is_runner(self) -> bool:
        if self._lock is None:
            self._lock = self.store.try_runner_lock()
        return self._lock is not None

    async def _save_progress(self) -> None:
        """Write how far the running jobs have come, and stop those that another process cancelled."""
        for job_id, task in list(self._running.items()):
            progress = self._progress.pop(job_id, None)
            stored = await asyncio.to_thread(self._saved, job_id, progress)
            if stored is None or not stored.is_running:
                task.cancel()

    def _saved(self, job_id: str, progress: JobProgress | None) -> StoredJob | None:
        if progress is None:
            return self.store.get(job_id)
        return self.store.change(job_id, lambda stored: stored.advanced(progress), durable=False)

    async def _recover(self, jobs: Iterable[StoredJob]) -> None:
        """Have those jobs wait again whose run died with its process."""
        for stored in jobs:
            if stored.is_running and stored.id not in self._running:
                await asyncio.to_thread(self.store.lose, stored.id)

    async def _delete_old(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._delete_at:
            self._delete_at = now + DELETE_PERIOD_S
            await asyncio.to_thread(self.store.delete_old)

    async def _begin_jobs(self, work: Work) -> None:
        while len(self._running) < self._at_once and self._may_begin():
            stored = await asyncio.to_thread(self.store.begin_next)
            if stored is None:
                return
            task = asyncio.create_task(self._run(work, stored))
            self._running[stored.id] = task
            task.add_done_callback(partial(self._forget, stored.id))

    def _may_begin(self) -> bool:
        is_due = asyncio.get_running_loop().time() >= self._resume_at
        return is_due and not self._paused and self._is_ready()

    def _forget(self, job_id: str, _: asyncio.Task[None]) -> None:
        self._running.pop(job_id, None)
        self._progress.pop(job_id, None)
        self.wake()

    async def _run(self, work: Work, stored: StoredJob) -> None:
        try:
            await self._answer(work, stored)
        except Exception:
            # It still runs according to the disk, so that the next turn finds it lost.
            logger.exception("Job %s was interrupted in an unforeseen way", stored.id)

    async def _answer(self, work: Work, stored: StoredJob) -> None:
        def report(progress: JobProgress) -> None:
            self._progress[stored.id] = progress

        audio = await asyncio.to_thread(self.store.audio, stored.id)
        try:
            response = await work(stored, audio, report)
        except AmanuensisError as error:
            await self._end_run(stored, error)
            return
        await asyncio.to_thread(self._saved, stored.id, self._progress.pop(stored.id, None))
        await asyncio.to_thread(self.store.finish, stored.id, "done", response)

    async def _end_run(self, stored: StoredJob, error: AmanuensisError) -> None:
        """Have a job wait, try it again, or fail it, as its error says."""
        if is_refused(error):
            self._resume_in(wait_s(error))
            await asyncio.to_thread(self.store.change, stored.id, StoredJob.put_back)
        elif is_lost(error):
            self._resume_in(wait_s(error))
            await asyncio.to_thread(self.store.lose, stored.id, error)
        else:
            response = KeptResponse.of_error(error)
            await asyncio.to_thread(self.store.finish, stored.id, "failed", response, error)

    def _resume_in(self, seconds: float) -> None:
        """Begin no job for a while: what refused this one would refuse any."""
        loop = asyncio.get_running_loop()
        self._resume_at = loop.time() + seconds
        loop.call_at(self._resume_at, self.wake)
