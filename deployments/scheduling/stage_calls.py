"""One stage as the pipeline calls it: within its budget, again when its replica died, not at all when it is broken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from deployments.contracts import DecodedWindow, DetectedLanguage, EncodedWindow, PreparedAudio, WindowMel
from deployments.errors import AmanuensisError, DeadlineExceededError, StageLostError, StageTimeoutError
from deployments.scheduling.admission import Lease
from deployments.scheduling.breaker import CircuitBreaker
from deployments.scheduling.retries import MAX_ATTEMPTS, RetryBudget, backoff_s
from deployments.statistics import StageStatistics

GRACE_S = 0.1

T = TypeVar("T", PreparedAudio, WindowMel, EncodedWindow, DetectedLanguage, DecodedWindow)


class StageCalls:
    """Makes the calls of one stage.

    A call that is given up, by its budget, its deadline or its request, goes on by itself and keeps its hold on the
    slot. While a lost replica is being replaced, calls wait for its successor: only their deadlines bound them then.

    Args:
        statistics: of the stage.
        budget_s: the longest a call may take.
        retries: shared by all stages.
    """

    def __init__(self, statistics: StageStatistics, budget_s: float, retries: RetryBudget) -> None:
        self.statistics = statistics
        self.breaker = CircuitBreaker(statistics.name)
        self.budget_s = budget_s
        self._retries = retries
        self._lost_at: float | None = None

    async def __call__(self, lease: Lease, deadline: float, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of ``call``, which is made again while its failure was not the request's.

        Args:
            lease: of the slot that the call works on.
            deadline: absolute, seconds since the epoch.
            call: makes the call anew each time.

        Raises:
            CircuitOpenError: the stage is broken at the moment.
            DeadlineExceededError: no result in time.
            AmanuensisError: what the stage raised.
        """
        self.breaker.begin()
        try:
            result = await self._with_retries(lease, deadline, call)
        except BaseException as error:
            if isinstance(error, AmanuensisError):
                error.stage = self.statistics.name
            self.breaker.failed(error)
            raise
        self.breaker.succeeded()
        return result

    async def _with_retries(self, lease: Lease, deadline: float, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        attempt = 1
        while True:
            began = time.monotonic()
            try:
                result = await self._once(lease, deadline, call())
            except Exception as error:
                self.statistics.failed(error)
                if isinstance(error, StageLostError):
                    self._lost_at = time.monotonic()
                if not _retryable(error) or attempt == MAX_ATTEMPTS or not self._retries.spend():
                    raise
            else:
                self._recovered(began)
                self._retries.earn()
                return result
            self.statistics.retried()
            await asyncio.sleep(backoff_s(attempt))
            attempt += 1

    async def _once(self, lease: Lease, deadline: float, call: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(call)
        lease.attach(task)
        self.statistics.began()
        task.add_done_callback(lambda _: self.statistics.ended())
        began = time.monotonic()
        await self._wait(task, min(self.budget_s, deadline - time.time()))
        if not task.done() and self._lost_at is not None:
            await self._wait(task, deadline - time.time())
        if not task.done():
            # The ingress may itself have stood still, and find the result a moment later.
            await self._wait(task, GRACE_S)
        if not task.done():
            raise self._timeout_error(deadline)
        result = task.result()
        self.statistics.processed(time.monotonic() - began, result.timing)
        return result

    def _recovered(self, began: float) -> None:
        # The answer to a call of before the loss may have been on its way: it proves nothing.
        if self._lost_at is not None and began >= self._lost_at:
            self._lost_at = None

    @staticmethod
    async def _wait(task: asyncio.Task[T], seconds: float) -> None:
        """Unlike ``wait_for``, cancels the call neither when time is up nor when the request is cancelled."""
        await asyncio.wait((task,), timeout=max(0.0, seconds))

    def _timeout_error(self, deadline: float) -> DeadlineExceededError:
        if time.time() >= deadline:
            return DeadlineExceededError("the request's deadline passed; send shorter audio or allow more time")
        return StageTimeoutError(
            f"{self.statistics.name} took longer than its budget of {self.budget_s:g} s; try again"
        )


def _retryable(error: Exception) -> bool:
    return isinstance(error, AmanuensisError) and error.retryable
