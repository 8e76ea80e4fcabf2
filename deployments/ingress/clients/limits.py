"""How much one client may ask for: requests a minute, and requests at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deployments.shared.errors import RateLimitError, TooManyConcurrentRequestsError

SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
BURSTS_A_MINUTE = 6
"""A client may send ten seconds' share at once, so in no minute more than 7/6 of its limit (or one request more)."""

CONCURRENCY_RETRY_AFTER_S = 1.0


class TokenBucket:
    """A token for each request that may be sent; they come back evenly, up to ``capacity``.

    Kept as one number, the time at which the bucket is full again: each request moves it on by the time in which a
    token comes back. Times are whole nanoseconds, so that nothing is lost to rounding.
    """

    def __init__(self, per_minute: int) -> None:
        self.capacity = max(1, per_minute // BURSTS_A_MINUTE)
        self._interval_ns = _ceil_div(MINUTE_NS, per_minute)
        self._full_at_ns = 0

    def full_in(self, now_ns: int) -> int:
        """Nanoseconds until the bucket is full; 0 if it is."""
        return max(0, self._full_at_ns - now_ns)

    def tokens(self, now_ns: int) -> int:
        return self.capacity - _ceil_div(self.full_in(now_ns), self._interval_ns)

    def wait(self, now_ns: int) -> int:
        """Nanoseconds until there is a token; 0 if there is one."""
        return max(0, self.full_in(now_ns) - (self.capacity - 1) * self._interval_ns)

    def take(self, now_ns: int) -> None:
        """Take a token, which must be there."""
        self._full_at_ns = now_ns + self.full_in(now_ns) + self._interval_ns


@dataclass(frozen=True, slots=True)
class Quota:
    """Where a client stands.

    Attributes:
        limit: requests a minute.
        remaining: requests that may be sent at once.
        reset_s: seconds until the full burst may be sent again.
    """

    limit: int
    remaining: int
    reset_s: float


@dataclass(slots=True)
class _Usage:
    bucket: TokenBucket | None
    running: int = 0

    def idle(self, now_ns: int) -> bool:
        """Nothing to remember: a client that comes back finds the same."""
        return not self.running and (self.bucket is None or not self.bucket.full_in(now_ns))


class ClientLimits:
    """Counts the requests of every client. Lives in one event loop; not thread-safe.

    Remembers only clients with a request running, or with one so recent that its token is not back yet.
    """

    def __init__(
        self,
        requests_per_minute: int | None,
        max_concurrent_requests: int | None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._requests_per_minute = requests_per_minute
        self._max_concurrent_requests = max_concurrent_requests
        self._clock_ns = clock_ns
        self._usage: dict[str, _Usage] = {}

    @property
    def tracked(self) -> int:
        """Clients that are remembered."""
        return len(self._usage)

    @contextmanager
    def enter(self, client: str) -> Iterator[None]:
        """Count a request of ``client`` while the context lasts. A request that is refused counts for nothing.

        Raises:
            TooManyConcurrentRequestsError: as many as may be are running.
            RateLimitError: with the time after which there is room for one more.
        """
        usage = self._usage_of(client)
        self._check_concurrency(usage)
        self._take_token(usage)
        usage.running += 1
        try:
            yield
        finally:
            usage.running -= 1

    def quota(self, client: str) -> Quota | None:
        """Return where the client stands; None where there is no rate limit."""
        bucket = self._usage_of(client).bucket
        if bucket is None or self._requests_per_minute is None:
            return None
        now_ns = self._clock_ns()
        return Quota(self._requests_per_minute, bucket.tokens(now_ns), bucket.full_in(now_ns) / SECOND_NS)

    def _usage_of(self, client: str) -> _Usage:
        usage = self._usage.get(client)
        if usage is None:
            self._forget_idle()
            bucket = TokenBucket(self._requests_per_minute) if self._requests_per_minute is not None else None
            usage = self._usage[client] = _Usage(bucket)
        return usage

    def _forget_idle(self) -> None:
        now_ns = self._clock_ns()
        self._usage = {name: usage for name, usage in self._usage.items() if not usage.idle(now_ns)}

    def _check_concurrency(self, usage: _Usage) -> None:
        limit = self._max_concurrent_requests
        if limit is not None and usage.running >= limit:
            raise TooManyConcurrentRequestsError(
                f"a client may have {limit} requests running at a time; wait for one to end",
                retry_after_s=CONCURRENCY_RETRY_AFTER_S,
            )

    def _take_token(self, usage: _Usage) -> None:
        if usage.bucket is None:
            return
        now_ns = self._clock_ns()
        wait_s = _ceil_div(usage.bucket.wait(now_ns), SECOND_NS)
        if wait_s:
            raise RateLimitError(
                f"a client may send {self._requests_per_minute} requests a minute; wait {wait_s} s",
                retry_after_s=wait_s,
            )
        usage.bucket.take(now_ns)


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
