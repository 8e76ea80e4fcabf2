"""What is known of one audio request while it passes through the service, for the statistics and the request log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from deployments.errors import (
    AmanuensisError,
    DrainingError,
    InternalError,
    OutOfSpaceError,
    OverloadedError,
    QueueFullError,
)

Outcome = Literal["answered", "rejected", "refused", "failed"]
"""``rejected``: the client is at fault, or gone; ``refused``: overload, or the service is stopping; else ``failed``."""

REFUSALS = (QueueFullError, OverloadedError, OutOfSpaceError, DrainingError)


def outcome_of(error: type[AmanuensisError]) -> Outcome:
    """How a request ended that was answered with such an error."""
    if error.status < InternalError.status:
        return "rejected"
    return "refused" if issubclass(error, REFUSALS) else "failed"


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
    """

    queue_s: float | None = None
    audio_s: float = 0.0
    windows: int = 0
    device: str | None = None
    stage_s: dict[str, float] = field(default_factory=dict)
    retries: int = 0


@dataclass(slots=True)
class RequestRecord:
    """One audio request, from its arrival to its end.

    Attributes:
        client: who asked.
        priority: as far as is known yet, in lower case.
        ended: its end was told.
        seconds: from arrival to end; 0 until then.
    """

    request_id: str
    client: str
    priority: str = "normal"
    costs: Costs = field(default_factory=Costs)
    ended: bool = False
    seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def end(self) -> None:
        """The answer is complete, or there will be none."""
        self.ended = True
        self.seconds = time.monotonic() - self._began
