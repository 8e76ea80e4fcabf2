"""Leaves a stage alone that fails again and again, so that clients get a fast answer and the stage gets peace."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from deployments.shared.errors import AmanuensisError, CircuitOpenError, ServiceUnavailableError, StageTimeoutError

FAILURES = 5
"""Failures in a row, without a success in between, that open the breaker."""

FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 30.0

State = Literal["closed", "open", "half_open"]


class CircuitBreaker:
    """The breaker of one stage.

    Closed, calls pass. After ``FAILURES`` in a row it opens: calls are refused at once, for a pause that doubles each
    time. Then it is half open: one call passes as a trial; its success closes the breaker, its failure opens it again.
    Only failures of the stage count: a replica that is lost, a device that has failed, a stage that hangs. Bad audio,
    or a deadline that passed while the stage worked for others, do not.

    Args:
        name: of the stage.
        clock: monotonic seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._open_until: float | None = None
        self._trial = False
        self.opened = 0
        self.reason: str | None = None

    @property
    def state(self) -> State:
        if self._open_until is None:
            return "closed"
        return "open" if self._clock() < self._open_until else "half_open"

    @property
    def lets_in(self) -> bool:
        """Whether the stage may be called now."""
        return self.state != "open" and not self._trial

    def refuse_if_open(self) -> None:
        """Refuse a call while the stage is left alone.

        Raises:
            CircuitOpenError: the stage is not to be called now.
        """
        if not self.lets_in:
            raise CircuitOpenError(
                f"{self._name} fails again and again, so it is not tried now; try again later",
                retry_after_s=max(1.0, (self._open_until or 0.0) - self._clock()),
            )

    def begin(self) -> None:
        """Note that a call is about to be made. When half open, it is the trial.

        Raises:
            CircuitOpenError: the stage is not to be called now.
        """
        self.refuse_if_open()
        self._trial = self.state == "half_open"

    def succeeded(self) -> None:
        """Note that a call gave a result, or that a probe found the stage well again."""
        self._failures, self._pause_s = 0, FIRST_PAUSE_S
        self._open_until, self._trial, self.reason = None, False, None

    def failed(self, error: BaseException) -> None:
        """Note that a call failed for good, its retries included, or was given up by its request."""
        if not _is_the_stages(error):
            self._trial = False
            return
        self._failures += 1
        if self._trial or self._failures >= FAILURES:
            self._open(error)

    def _open(self, error: BaseException) -> None:
        if self._trial:
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
        elif self._open_until is None:
            self.opened += 1
        self._trial = False
        self._open_until = self._clock() + self._pause_s
        self.reason = error.message if isinstance(error, AmanuensisError) else type(error).__name__


def _is_the_stages(error: BaseException) -> bool:
    return isinstance(error, (ServiceUnavailableError, StageTimeoutError)) and not isinstance(error, CircuitOpenError)
