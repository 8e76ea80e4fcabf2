"""What becomes of a job whose run ended with an error: it waits, is tried again a few times, or fails."""

from __future__ import annotations

from typing import Final

from deployments.ingress.telemetry.record import REFUSALS
from deployments.shared.errors import AmanuensisError, CircuitOpenError, InternalError

PASSING: Final = (*REFUSALS, CircuitOpenError)
"""Nothing was done for the job: it waits for as long as it takes."""

DEFAULT_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 60.0


def is_refused(error: AmanuensisError) -> bool:
    """Return whether the service had no room for the job, which says nothing about the job itself."""
    return isinstance(error, PASSING)


def is_lost(error: AmanuensisError) -> bool:
    """Return whether the service failed under the job: it may go well the next time, or be the recording's doing."""
    return error.status >= InternalError.status and not is_refused(error)


def wait_s(error: AmanuensisError) -> float:
    """Return after how many seconds jobs are begun again."""
    return min(error.retry_after_s or DEFAULT_WAIT_S, LONGEST_WAIT_S)
