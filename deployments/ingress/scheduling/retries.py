"""How often failed calls are made again: few times each, and not many in all."""

from __future__ import annotations

MAX_ATTEMPTS = 4
"""Calls of one stage for one window."""

BACKOFF_S = 0.05
"""Before the second call; doubled before each further one."""

FULL = 100.0
REFILL = 0.2


class RetryBudget:
    """Tokens that retries cost and successes earn, so that a stage that fails all the time is not called even more.

    After gRPC's retry throttling (proposal A6): at most ``FULL`` retries in a row, in the long run one for every
    ``1 / REFILL`` successful calls.
    """

    def __init__(self) -> None:
        self._tokens = FULL
        self.spent = 0

    def earn(self) -> None:
        """Note that a call succeeded."""
        self._tokens = min(FULL, self._tokens + REFILL)

    def spend(self) -> bool:
        """Return whether one more retry is allowed; it is counted then."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        self.spent += 1
        return True


def backoff_s(attempt: int) -> float:
    """Return the seconds to pause after the failed ``attempt``, counted from 1."""
    return float(BACKOFF_S * 2 ** (attempt - 1))
