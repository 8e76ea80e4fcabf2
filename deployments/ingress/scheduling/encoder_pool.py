"""Several encoders, one per device, used as one: each window goes to the encoder that has the fewest outstanding.

An encoder that is lost, or whose device has failed, gets nothing more until it answers a probe and works again; the
others serve on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ray.serve.handle import DeploymentHandle

from deployments.ingress.cancellation import is_cancelled
from deployments.ingress.scheduling.serve_call import call_stage
from deployments.shared.contracts import ArrayRef, EncodedWindow, EncoderHealth, StageProgress, Ticket
from deployments.shared.errors import REPLICA_LOST, AmanuensisError, DeviceBrokenError, StageLostError

PROBE_TIMEOUT_S = 1.5
"""Seconds that one encoder has to answer: less than what the ingress waits for all of them."""

UNANSWERED = 5
"""Probes in a row after which an encoder's calls are given up: when a node dies, nothing else tells Ray for long."""


class EncoderPool:
    """The deployments of the encoder. Lives in the ingress's event loop."""

    def __init__(self, encoders: Sequence[DeploymentHandle]) -> None:
        self._members = [_Member(encoder) for encoder in encoders]

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        """Encode one window, on another device where the first one tried turns out to have failed.

        Raises:
            DeviceBrokenError: every device has failed.
            AmanuensisError: what the encoder raised.
        """
        untried = len(self._members)
        while True:
            untried -= 1
            try:
                return await self._least_busy().encode(ticket, log_mel)
            except DeviceBrokenError:
                if not untried or not any(member.works for member in self._members):
                    raise

    async def health(self) -> EncoderHealth:
        """Return the health of all together: ``degraded`` while only some work.

        Raises:
            StageLostError: none answers.
        """
        return _together(await asyncio.gather(*(member.probe() for member in self._members)))

    async def progress(self) -> StageProgress:
        """Return how the encoder that is best off, of those with windows, gets on. Probes see to those that hang.

        Raises:
            StageLostError: none answers.
        """
        busy = [member for member in self._members if member.outstanding]
        answers = await asyncio.gather(*(member.progress() for member in busy or self._members))
        answered = [answer for answer in answers if answer is not None]
        if not answered:
            raise StageLostError("No encoder answers; try again", retry_after_s=1)
        return min(answered, key=lambda answer: answer.stalled_s / answer.budget_s)

    def _least_busy(self) -> _Member:
        working = [member for member in self._members if member.works]
        return min(working or self._members, key=lambda member: member.outstanding)


class _Member:
    """An encoder of the pool.

    Attributes:
        outstanding: how many windows it was given and has not answered.
        works: as far as its last call or probe showed.
    """

    def __init__(self, encoder: DeploymentHandle) -> None:
        self._encoder = encoder
        self._calls: set[asyncio.Future[EncodedWindow]] = set()
        self._unanswered = 0
        self.works = True

    @property
    def outstanding(self) -> int:
        return len(self._calls)

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        call = asyncio.ensure_future(call_stage(self._encoder.encode, EncodedWindow, ticket, log_mel))
        self._calls.add(call)
        try:
            return await call
        except (StageLostError, DeviceBrokenError):
            self.works = False
            raise
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise StageLostError(REPLICA_LOST, retry_after_s=1) from None
        finally:
            self._calls.discard(call)

    async def probe(self) -> EncoderHealth | None:
        """Return its answer; None if there is none in time."""
        try:
            health = await asyncio.wait_for(call_stage(self._encoder.health, EncoderHealth), PROBE_TIMEOUT_S)
        except (AmanuensisError, TimeoutError):
            self._did_not_answer()
            return None
        self._unanswered = 0
        self.works = health.status != "failed"
        return health

    def _did_not_answer(self) -> None:
        self.works = False
        self._unanswered += 1
        if self._unanswered >= UNANSWERED:
            for call in self._calls:
                call.cancel()

    async def progress(self) -> StageProgress | None:
        """Return its answer; None if there is none in time."""
        try:
            return await asyncio.wait_for(call_stage(self._encoder.progress, StageProgress), PROBE_TIMEOUT_S)
        except (AmanuensisError, TimeoutError):
            return None


def _together(found: Sequence[EncoderHealth | None]) -> EncoderHealth:
    answered = [health for health in found if health is not None]
    if not answered:
        raise StageLostError("No encoder answers; try again", retry_after_s=1)
    if len(found) == 1:
        return answered[0]
    working = [health for health in answered if health.status != "failed"]
    devices = ", ".join(dict.fromkeys(health.device for health in working or answered))
    recoveries = sum(health.recoveries for health in answered)
    reasons = [
        f"encoder {number} of {len(found)}: {health.reason if health else 'it does not answer'}"
        for number, health in enumerate(found, start=1)
        if health is None or health.status != "healthy"
    ]
    window_s = _window_s(working)
    if not reasons:
        return EncoderHealth(devices, "healthy", None, recoveries, window_s)
    return EncoderHealth(devices, "degraded" if working else "failed", "; ".join(reasons), recoveries, window_s)


def _window_s(working: Sequence[EncoderHealth]) -> float | None:
    """Return the seconds per window of encoders that work side by side; None where one was not measured."""
    seconds = [health.window_s for health in working if health.window_s]
    return 1 / sum(1 / each for each in seconds) if seconds and len(seconds) == len(working) else None
