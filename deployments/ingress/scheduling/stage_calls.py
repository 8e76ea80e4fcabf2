"""One stage as the pipeline calls it: again when its replica died, not at all while it is broken or hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Concatenate, ParamSpec

from deployments.ingress.scheduling.breaker import CircuitBreaker
from deployments.ingress.scheduling.retries import MAX_ATTEMPTS, RetryBudget, backoff_s
from deployments.ingress.scheduling.slots import CallKeeper
from deployments.ingress.telemetry.record import RequestRecord, Step
from deployments.ingress.telemetry.statistics import StageStatistics
from deployments.shared.contracts import StageProgress, StageResult, StageTiming, Ticket
from deployments.shared.errors import (
    REPLICA_LOST,
    AmanuensisError,
    DeadlineExceededError,
    StageLostError,
    StageTimeoutError,
)
from deployments.shared.watchdog import ProgressWatch, Work

GRACE_S = 0.1
LOOK_S = 1.0
"""Seconds between two looks at the stage of a call that waits, and between two questions to one that seems to hang."""

ANSWER_S = 3.0
"""The longest that a replica may take to say whether it gets on."""

REPLACED_S = 60.0
"""The longest that calls wait for the replacement of a replica that hangs."""

PATIENCE_S = 30.0
"""Seconds that a request that has begun waits for a stage that is left alone: what was done is worth the wait."""

POLL_S = 0.1

P = ParamSpec("P")

Call = Callable[[], Coroutine[Any, Any, StageResult]]
Method = Callable[Concatenate[Ticket, P], Coroutine[Any, Any, StageResult]]
"""A stage's method; it is called anew for each attempt."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What a call works on: one window of one request, and the slot with its arrays; or a whole recording.

    Attributes:
        lease: keeps the call.
        deadline: of the request, in seconds of the monotonic clock.
        record: of the request; each call adds its step.
        window: which window of the audio, from 0.
    """

    lease: CallKeeper
    ticket: Ticket
    deadline: float
    record: RequestRecord
    window: int


@dataclass(slots=True)
class _Attempts:
    """How a call went so far.

    Attributes:
        made: attempts.
        timing: what the stage says of the one that succeeded; None if none did.
    """

    made: int = 0
    timing: StageTiming | None = None


class StageCalls:
    """The calls of one stage.

    A call waits for its result until its deadline: under load it waits for all those ahead of it. A stage hangs that
    has work, has finished nothing for its budget, neither these calls nor any other, and when asked says that it gets
    nowhere, or says nothing. Serve replaces its replica then, which ends the calls, and they are made again. Only where
    that does not happen in ``REPLACED_S`` do they fail.

    A call that is given up, by its deadline, its request or because the stage hangs, goes on by itself and keeps its
    hold on the slot. While a lost replica is being replaced, calls wait for its successor: only their deadlines bound
    them then. A lost call is not made again before the stage answers a question: until Serve has noticed the loss, it
    would go to the dead replica, attempt after attempt.

    Args:
        statistics: where the stage's calls are counted.
        budget_s: seconds without anything finished after which the stage is asked whether it gets on.
        retries: shared by all stages.
        progress: asks the stage.
    """

    def __init__(
        self,
        statistics: StageStatistics,
        budget_s: float,
        retries: RetryBudget,
        progress: Callable[[], Awaitable[StageProgress]],
    ) -> None:
        self.statistics = statistics
        self.breaker = CircuitBreaker(statistics.name, _now)
        self.budget_s = budget_s
        self._retries = retries
        self._progress = progress
        self._watch = ProgressWatch(budget_s, slack=0.0, clock=_now)
        self._work: Work | None = None
        self._under_way = 0
        self._question: asyncio.Task[None] | None = None
        self._trusted_until = 0.0
        self._lost_at: float | None = None
        self._hung_at: float | None = None

    @property
    def hung(self) -> bool:
        """Whether the stage has work and gets nowhere."""
        return self._hung_at is not None

    async def __call__(
        self, hold: Hold, method: Method[P, StageResult], *args: P.args, **kwargs: P.kwargs
    ) -> StageResult:
        """Return the result of ``method``, which is called again while its failure was not the request's.

        A stage that is left alone at the moment is waited for, at most ``PATIENCE_S``: something has been done for the
        request already.

        Raises:
            CircuitOpenError: the stage is broken at the moment.
            DeadlineExceededError: no result in time.
            StageTimeoutError: the stage hangs, and was not replaced in time.
            AmanuensisError: what the stage raised.
        """
        patient_until = min(hold.deadline, time.monotonic() + PATIENCE_S)
        return await self._call(hold, partial(method, hold.ticket, *args, **kwargs), patient_until)

    async def call_now(
        self, hold: Hold, method: Method[P, StageResult], *args: P.args, **kwargs: P.kwargs
    ) -> StageResult:
        """Do as ``__call__`` does, but wait for no stage that is left alone."""
        return await self._call(hold, partial(method, hold.ticket, *args, **kwargs), 0.0)

    async def _call(self, hold: Hold, call: Call[StageResult], patient_until: float) -> StageResult:
        with self._step(hold) as step:
            while time.monotonic() < patient_until and (self.hung or not self.breaker.lets_in):  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)  # time passing opens it
            self.breaker.begin()
            try:
                result = await self._with_retries(hold, call, step)
            except BaseException as error:
                if isinstance(error, AmanuensisError):
                    error.stage = self.statistics.name
                self.breaker.failed(error)
                raise
            self.breaker.succeeded()
            step.timing = result.timing
            return result

    @contextmanager
    def _step(self, hold: Hold) -> Iterator[_Attempts]:
        """Add the call to the request's record, also when it fails."""
        began_at, began, attempts = time.time(), time.monotonic(), _Attempts()
        try:
            yield attempts
        finally:
            seconds = time.monotonic() - began
            step = Step(self.statistics.name, hold.window, began_at, seconds, attempts.made, attempts.timing)
            hold.record.add(step)

    async def _with_retries(self, hold: Hold, call: Call[StageResult], step: _Attempts) -> StageResult:
        while True:
            step.made += 1
            began = time.monotonic()
            try:
                result = await self._attempt(hold, call)
            except Exception as error:
                self.statistics.failed(error)
                if not _is_retryable(error) or step.made == MAX_ATTEMPTS or not self._retries.spend():
                    raise
                if isinstance(error, StageLostError) and not await self._answers(hold.deadline):
                    raise
            else:
                self._note_recovery(began)
                self._retries.earn()
                return result
            self.statistics.retried()
            await asyncio.sleep(backoff_s(step.made))

    async def _answers(self, deadline: float) -> bool:
        """Wait until the stage answers a question; return whether it did before the deadline."""
        while (left_s := deadline - time.monotonic()) > 0:
            if await self._answer(left_s) is not None:
                return True
            await asyncio.sleep(POLL_S)
        return False

    async def _attempt(self, hold: Hold, call: Call[StageResult]) -> StageResult:
        deadline = hold.deadline
        began = time.monotonic()
        task = self._start(hold.lease, call)
        while not task.done():
            left_s = self._time_left(deadline)
            if left_s > 0:
                await self._wait(task, min(left_s, self._look()))
                continue
            # The ingress may itself have stood still, and find the result a moment later.
            await self._wait(task, GRACE_S)
            if not task.done() and self._time_left(deadline) <= 0:
                raise self._timeout_error()
        if task.cancelled():  # not by us: its channel was closed under it
            raise StageLostError(REPLICA_LOST, retry_after_s=1)
        result = task.result()
        self.statistics.processed(time.monotonic() - began, result.timing)
        return result

    def _time_left(self, deadline: float) -> float:
        """Return for how many seconds a call may still be waited for."""
        until = deadline if self._hung_at is None else min(deadline, self._hung_at + REPLACED_S)
        return until - time.monotonic()

    def _start(self, lease: CallKeeper, call: Call[StageResult]) -> asyncio.Task[StageResult]:
        task = asyncio.ensure_future(call())
        lease.attach(task)
        self.statistics.began()
        self._under_way += 1
        if self._work is None:
            self._work = self._watch.begin()
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[StageResult]) -> None:
        """Note that a call has ended, whether or not somebody still waits for it."""
        self.statistics.ended()
        self._under_way -= 1
        self._hung_at = None
        if task.cancelled() or isinstance(task.exception(), StageLostError):
            self._lost_at = time.monotonic()
        elif self._work is not None:
            self._work.progressed()
        if not self._under_way and self._work is not None:
            self._watch.end(self._work)
            self._work = None

    def _look(self) -> float:
        """Ask the stage whether it gets on, if it seems to hang; return in how many seconds to look again."""
        stalled_s = self._watch.progress().stalled_s
        if self._lost_at is not None or self.hung or time.monotonic() < self._trusted_until:
            return LOOK_S
        if stalled_s < self.budget_s:
            return min(LOOK_S, self.budget_s - stalled_s)
        if self._question is None:
            self._question = asyncio.create_task(self._ask())
        return LOOK_S

    async def _ask(self) -> None:
        gets_on = await self._gets_on()
        self._question = None
        if gets_on:
            self._hung_at = None
            self._trusted_until = time.monotonic() + LOOK_S
        elif self._lost_at is None and self._watch.progress().stalled_s >= self.budget_s:
            self._hung_at = self._hung_at or time.monotonic()
            # The call that it waits for may be lost for good, while the stage has long been well again.
            asyncio.get_running_loop().call_later(LOOK_S, self._ask_again)

    def _ask_again(self) -> None:
        if self.hung and self._question is None:
            self._question = asyncio.create_task(self._ask())

    async def _gets_on(self) -> bool:
        answer = await self._answer(ANSWER_S)
        return answer is not None and answer.stalled_s < max(self.budget_s, answer.budget_s)

    async def _answer(self, seconds: float) -> StageProgress | None:
        """Return what the stage says of itself; None if it says nothing in time."""
        try:
            return await asyncio.wait_for(self._progress(), min(seconds, ANSWER_S))
        except Exception:  # noqa: BLE001  (whatever keeps it from answering, it does not answer)
            return None

    def _note_recovery(self, began: float) -> None:
        # The answer to a call of before the loss may have been on its way: it proves nothing.
        if self._lost_at is not None and began >= self._lost_at:
            self._lost_at = None

    async def _wait(self, task: asyncio.Task[StageResult], seconds: float) -> None:
        """Wait; unlike ``wait_for``, cancel the call neither when time is up nor when the request is cancelled."""
        awaited = {task} if self._question is None else {task, self._question}
        await asyncio.wait(awaited, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)

    def _timeout_error(self) -> DeadlineExceededError:
        if self.hung:
            return StageTimeoutError(f"{self.statistics.name} hangs: it has finished nothing for a while; try again")
        return DeadlineExceededError.before("it was answered")


def _now() -> float:
    """Return the monotonic clock as it is when it is read, so that tests can set it."""
    return time.monotonic()


def _is_retryable(error: Exception) -> bool:
    return isinstance(error, AmanuensisError) and error.retryable
