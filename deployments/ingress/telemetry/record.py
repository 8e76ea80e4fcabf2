"""What is known of one audio request while it passes through the service, for the statistics and the request log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from deployments.shared.contracts import StageTiming
from deployments.shared.errors import (
    AmanuensisError,
    DrainingError,
    InternalError,
    JobsFullError,
    LiveSessionsFullError,
    OutOfSpaceError,
    OverloadedError,
    QueueFullError,
    QueueTimeoutError,
    TooManyUtterancesError,
)

Outcome = Literal["answered", "rejected", "refused", "failed"]
"""``rejected``: the client is at fault, or gone; ``refused``: overload, or the service is stopping; else ``failed``."""

QUEUE = "queue"

REFUSALS = (
    *(QueueFullError, OverloadedError, QueueTimeoutError, OutOfSpaceError, JobsFullError, DrainingError),
    *(LiveSessionsFullError, TooManyUtterancesError),
)


def outcome_of(error: type[AmanuensisError]) -> Outcome:
    """Return how a request ended that was answered with such an error."""
    if error.status < InternalError.status:
        return "rejected"
    return "refused" if issubclass(error, REFUSALS) else "failed"


def _known(cls: type[AmanuensisError]) -> Iterator[type[AmanuensisError]]:
    """Yield an error and all that derive from it."""
    yield cls
    for derived in cls.__subclasses__():
        yield from _known(derived)


OUTCOMES: dict[str, Outcome] = {error.code: outcome_of(error) for error in _known(AmanuensisError)}
"""How a request ended, by error code."""


@dataclass(frozen=True, slots=True)
class Step:
    """One wait of a request: for a slot, or for a stage.

    Attributes:
        name: ``QUEUE``, or the stage's name.
        window: which window of the audio, from 0.
        began: seconds since the epoch.
        seconds: until the slot or the result, handoff and retries included; or until the failure.
        attempts: calls that were made.
        timing: what the stage says of the call; None if it failed, or for the queue.
    """

    name: str
    window: int
    began: float
    seconds: float
    attempts: int = 0
    timing: StageTiming | None = None


@dataclass(slots=True)
class RequestRecord:
    """What became of one audio request, from its arrival to its end. Whoever works on the request adds to it.

    Attributes:
        client: name of the API key that the request came with.
        traceparent: of the client's own trace (W3C Trace Context); None if it sent none.
        received: seconds since the epoch.
        began: the same moment, in seconds of the monotonic clock.
        priority: ``high``, ``normal`` or ``low``, as far as it is known yet.
        queue_s: seconds until the first slot; None until then.
        audio_s: length of the decoded audio in seconds.
        windows: how many windows of speech the audio has.
        device: encoded the latest window; None before the first one.
        stage_s: seconds that calls of each stage took, handoff and retries included, by the stage's name. Windows are
            worked on side by side, so the sum may exceed the request's own time.
        retries: calls that were made again.
        steps: each wait of the request, in the order in which they ended.
        ended: whether its end was told.
        seconds: from arrival to end; 0 until then.
    """

    request_id: str
    client: str
    traceparent: str | None = None
    received: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)
    priority: str = "normal"
    queue_s: float | None = None
    audio_s: float = 0.0
    windows: int = 0
    device: str | None = None
    stage_s: dict[str, float] = field(default_factory=dict)
    retries: int = 0
    steps: list[Step] = field(default_factory=list)
    ended: bool = False
    seconds: float = 0.0

    def add(self, step: Step) -> None:
        """Add a wait that has ended."""
        self.steps.append(step)
        if step.name != QUEUE:
            self.stage_s[step.name] = self.stage_s.get(step.name, 0.0) + step.seconds
            self.retries += max(0, step.attempts - 1)

    def end(self) -> None:
        """Note that the answer is complete, or that there will be none."""
        self.ended = True
        self.seconds = time.monotonic() - self.began
