"""Tells the host that a client named of the end of its job: one POST, tried a few times, beside everything else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import requests

from deployments.ingress.jobs.job import Job, JobCallback, StoredJob
from deployments.ingress.jobs.store import JobStore
from deployments.shared.errors import CallbackNotAllowedError
from deployments.shared.headers import SIGNATURE_HEADER
from deployments.shared.settings import Settings
from deployments.shared.web_names import origin_of

TIMEOUT_S: Final = 10.0
"""Seconds to connect, and then to answer."""

WAITS_S: Final = (0.0, 5.0, 30.0, 180.0)
"""Seconds before each attempt; there are no more than these."""

AT_ONCE: Final = 4
TAKEN: Final = range(200, 300)

logger = logging.getLogger("ray.serve")


class Callbacks:
    """Sends callbacks from threads of its own, so that a slow host holds up nobody else.

    Args:
        store: where the outcome is noted.
        hosts: that may be called, as ``origin_of`` their URLs.
        secret: key of the signature; None sends none.
        waits_s: seconds before each attempt.
    """

    def __init__(
        self, store: JobStore, hosts: Collection[str], secret: str | None, waits_s: tuple[float, ...] = WAITS_S
    ) -> None:
        self._store = store
        self._hosts = frozenset(hosts)
        self._secret = None if secret is None else secret.encode()
        self._waits_s = waits_s
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._senders = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="callback")

    @classmethod
    def of(cls, settings: Settings, store: JobStore) -> Callbacks:
        """Return the callbacks that the settings allow."""
        secret = settings.callback_secret
        return cls(store, settings.callback_hosts, None if secret is None else secret.get_secret_value())

    def check_url(self, url: str) -> None:
        """Reject a URL whose host may not be called.

        Raises:
            CallbackNotAllowedError: the operator has not named it.
        """
        if origin_of(url) not in self._hosts:
            raise CallbackNotAllowedError(
                "callback_url must be a URL of a host that callback_hosts of this service names, without a user's "
                "name; ask its operator to add the host",
                param="callback_url",
            )

    def send_all(self, jobs: Iterable[StoredJob]) -> None:
        """Begin to send what is due and not under way."""
        for stored in jobs:
            if _is_due(stored.job) and stored.id not in self._sending:
                task = asyncio.create_task(self._send(stored.id))
                self._sending[stored.id] = task
                task.add_done_callback(partial(self._forget, stored.id))

    async def close(self) -> None:
        """Stop; what was not delivered is sent after the next start."""
        tasks = list(self._sending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._senders.shutdown(wait=False, cancel_futures=True)

    async def _send(self, job_id: str) -> None:
        """Try to deliver until somebody takes it or no attempt is left."""
        stored = await asyncio.to_thread(self._store.get, job_id)
        while stored is not None and _is_due(stored.job):
            stored = await self._attempt(stored.job, stored.job.callback)

    async def _attempt(self, job: Job, callback: JobCallback | None) -> StoredJob | None:
        """Send one request, note what became of it, and return the job."""
        if callback is None:
            return None
        await asyncio.sleep(self._waits_s[min(callback.attempts, len(self._waits_s) - 1)])
        send = partial(self._refused, callback.url, job.model_dump_json().encode())
        reason = await asyncio.get_running_loop().run_in_executor(self._senders, send)
        after = self._after(callback, reason)
        return await asyncio.to_thread(self._store.change, job.id, lambda stored: stored.called_back(after))

    def _refused(self, url: str, body: bytes) -> str | None:
        """Send one request; return why it was not taken, None where it was."""
        if origin_of(url) not in self._hosts:
            return "callback_hosts does not name this host any more"
        headers = {"content-type": "application/json", **self._signature(body)}
        with requests.Session() as session:
            session.trust_env = False  # no proxy, and no password of a .netrc
            try:
                answer = session.post(
                    url, data=body, headers=headers, timeout=TIMEOUT_S, allow_redirects=False, stream=True
                )
            except requests.Timeout:
                return f"no answer within {TIMEOUT_S:g} s"
            except (requests.RequestException, ValueError) as error:
                return f"no connection ({type(error).__name__})"
            answer.close()
        return None if answer.status_code in TAKEN else f"status {answer.status_code}"

    def _signature(self, body: bytes) -> dict[str, str]:
        if self._secret is None:
            return {}
        return {SIGNATURE_HEADER: f"sha256={hmac.new(self._secret, body, hashlib.sha256).hexdigest()}"}

    def _after(self, callback: JobCallback, reason: str | None) -> JobCallback:
        attempts = callback.attempts + 1
        status = "delivered" if reason is None else "failed" if attempts >= len(self._waits_s) else "pending"
        return callback.model_copy(update={"attempts": attempts, "reason": reason, "status": status})

    def _forget(self, job_id: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            del self._sending[job_id]
        else:  # its outcome cannot be noted, so that it would be sent again and again
            logger.error("The callback of %s failed and is sent again after the next start", job_id, exc_info=error)


def _is_due(job: Job) -> bool:
    return job.has_ended and job.callback is not None and job.callback.status == "pending"
