"""What is known of one audio request while it passes through the service, for the statistics and the request log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from deployments.shared.contracts import StageTiming
from deployments.shared.errors import (
    AmanuensisError,
    DrainingError,
    InternalError,
    OutOfSpaceError,
    OverloadedError,
    QueueFullError,
    QueueTimeoutError,
)

Outcome = Literal["answered", "rejected", "refused", "failed"]
"""``rejected``: the client is at fault, or gone; ``refused``: overload, or the service is stopping; else ``failed``."""

QUEUE = "queue"

REFUSALS = (QueueFullError, OverloadedError, QueueTimeoutError, OutOfSpaceError, DrainingError)


def outcome_of(error: type[AmanuensisError]) -> Outcome:
    """How a request ended that was answered with such an error."""
    if error.status < InternalError.status:
        return "rejected"
    return "refused" if issubclass(error, REFUSALS) else "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One wait of a request: for a slot, or for a stage.

    Attributes:
        name: ``QUEUE``, or the stage's name.
        window: which window of the audio, from 0.
        began: seconds since the epoch.
        seconds: until the slot or the result, hand-over and retries included; or until the failure.
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
class Costs:
    """What one request has cost so far; the pipeline adds to it.

    Attributes:
        queue_s: seconds until the first slot; None until then.
        audio_s: length of the decoded audio in seconds.
        windows: stretches of speech in it.
        device: that encoded the latest window; None before the first one.
        stage_s: seconds that calls of each stage took, hand-over and retries included, by the stage's name. Windows
            are worked on side by side, so the sum may exceed the request's own time.
        retries: calls that were made again.
        steps: each of its waits, in the order in which they ended.
    """

    queue_s: float | None = None
    audio_s: float = 0.0
    windows: int = 0
    device: str | None = None
    stage_s: dict[str, float] = field(default_factory=dict)
    retries: int = 0
    steps: list[Step] = field(default_factory=list)


@dataclass(slots=True)
class RequestRecord:
    """One audio request, from its arrival to its end.

    Attributes:
        client: who asked.
        traceparent: of the client's own trace (W3C Trace Context); None if it sent none.
        priority: as far as is known yet, in lower case.
        received: seconds since the epoch.
        ended: its end was told.
        seconds: from arrival to end; 0 until then.
    """

    request_id: str
    client: str
    traceparent: str | None = None
    priority: str = "normal"
    costs: Costs = field(default_factory=Costs)
    ended: bool = False
    seconds: float = 0.0
    received: float = field(default_factory=time.time)
    _began: float = field(default_factory=time.monotonic)

    def end(self) -> None:
        """The answer is complete, or there will be none."""
        self.ended = True
        self.seconds = time.monotonic() - self._began
