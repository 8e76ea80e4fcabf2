"""Where an upload lies while its request is worked on: a private file in shared memory, or Ray's object store."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import ray

from deployments.shared.contracts import BlobRef, SpooledBlob, Stored
from deployments.shared.memory.handoff import drop
from deployments.shared.memory.spool import write_upload

LARGE = 2**20
"""Bytes from which a thread writes and deletes: 100 MiB take tens of milliseconds, in which the event loop would answer
and refuse nobody. For less, the thread would cost more than it saves."""

RETRY_S = 1.0

logger = logging.getLogger("ray.serve")


class Uploads:
    """The uploads of one ingress. Lives in its event loop.

    Args:
        directory: in shared memory; None where uploads travel through the object store.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._dropping: set[asyncio.Task[None]] = set()

    async def store(self, audio: bytes) -> BlobRef:
        """Put an upload where the stages find it; nothing of it is left if this is cancelled.

        Raises:
            OutOfSpaceError: it does not fit.
        """
        if self._directory is None:
            return Stored(ray.put(audio))
        if len(audio) < LARGE:
            return SpooledBlob(str(write_upload(self._directory, audio)))
        writing = asyncio.ensure_future(asyncio.to_thread(write_upload, self._directory, audio))
        try:
            return SpooledBlob(str(await asyncio.shield(writing)))
        except asyncio.CancelledError:
            writing.add_done_callback(self._discard_written)  # a thread that has begun cannot be stopped
            raise

    def discard(self, upload: BlobRef, size: int) -> None:
        """Free an upload and the audio decoded from it, at once or soon.

        Args:
            size: bytes of both together, as far as it is known.
        """
        if size < LARGE:
            try:
                drop(upload)
            except OSError as error:  # descriptors may have run out, which is no reason to fail the request
                logger.warning("An upload stays for a while: %s", error.strerror)
            else:
                return
        dropping = asyncio.create_task(_drop_in_thread(upload))
        self._dropping.add(dropping)
        dropping.add_done_callback(self._dropping.discard)

    def _discard_written(self, writing: asyncio.Future[Path]) -> None:
        if not writing.cancelled() and writing.exception() is None:
            self.discard(SpooledBlob(str(writing.result())), LARGE)


async def _drop_in_thread(upload: BlobRef) -> None:
    while True:
        try:
            await asyncio.to_thread(drop, upload)
        except OSError:
            await asyncio.sleep(RETRY_S)
        else:
            return
