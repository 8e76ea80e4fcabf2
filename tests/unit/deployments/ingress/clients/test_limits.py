"""The limits of one client: a rate that is kept in every stretch of time, and slots that always come back."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.clients.limits import MINUTE_NS, SECOND_NS, ClientLimits, Quota, TokenBucket
from deployments.shared.errors import RateLimitError, TooManyConcurrentRequestsError

rates = st.integers(1, 300) | st.integers(1, 100_000)
pauses = st.lists(st.integers(0, 2 * MINUTE_NS) | st.integers(0, SECOND_NS), max_size=60)


class Clock:
    """Time that passes only when told to, in nanoseconds."""

    def __init__(self) -> None:
        self.now_ns = 17 * MINUTE_NS

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND_NS)


def limits(clock: Clock, per_minute: int | None = None, at_a_time: int | None = None) -> ClientLimits:
    return ClientLimits(per_minute, at_a_time, clock)


def send(limited: ClientLimits, client: str = "ann") -> None:
    with limited.enter(client):
        pass


class TestTokenBucket:
    @given(rates, pauses)
    def test_it_is_the_bucket_of_the_textbook(self, per_minute: int, waits: list[int]) -> None:
        """Against exact arithmetic: a level that rises with time up to the brim, one lower for each request."""
        bucket = TokenBucket(per_minute)
        interval = Fraction(-(-MINUTE_NS // per_minute))
        level, now = Fraction(bucket.capacity), 0
        for wait in waits:
            now += wait
            level = min(Fraction(bucket.capacity), level + wait / interval)
            assert bucket.tokens(now) == level.__floor__()
            assert (bucket.wait(now) == 0) == (level >= 1)
            if level >= 1:
                bucket.take(now)
                level -= 1

    @given(rates, st.lists(st.just(None) | st.integers(0, SECOND_NS), max_size=60))
    def test_no_stretch_of_time_has_more_than_the_burst_and_its_share(
        self, per_minute: int, waits: list[int | None]
    ) -> None:
        """Also for a client that sends as soon as it may (None)."""
        bucket, now, taken = TokenBucket(per_minute), 0, []
        for wait in waits:
            now += bucket.wait(now) if wait is None else wait
            if not bucket.wait(now):
                bucket.take(now)
                taken.append(now)
        for first, began in enumerate(taken):
            for count, ended in enumerate(taken[first:], 1):
                assert count <= bucket.capacity + Fraction((ended - began) * per_minute, MINUTE_NS)

    @given(rates, pauses)
    def test_the_wait_it_names_is_enough_and_not_a_nanosecond_too_long(self, per_minute: int, waits: list[int]) -> None:
        bucket, now = TokenBucket(per_minute), 0
        for pause in waits:
            now += pause
            if wait := bucket.wait(now):
                assert bucket.wait(now + wait) == 0
                assert bucket.wait(now + wait - 1) == 1
                assert bucket.tokens(now) == 0
            else:
                bucket.take(now)

    @given(rates)
    def test_the_burst_is_ten_seconds_share_and_at_least_one(self, per_minute: int) -> None:
        bucket = TokenBucket(per_minute)
        for left in range(min(bucket.capacity, 300), 0, -1):
            assert bucket.wait(0) == 0
            assert bucket.tokens(0) == bucket.capacity - min(bucket.capacity, 300) + left
            bucket.take(0)
        assert bucket.capacity == max(1, per_minute // 6)

    @given(rates, st.integers(0, 10**18))
    def test_an_idle_bucket_is_full(self, per_minute: int, now: int) -> None:
        assert TokenBucket(per_minute).tokens(now) == max(1, per_minute // 6)


class TestRate:
    def test_a_burst_then_a_wait_then_one_more(self) -> None:
        clock = Clock()
        limited = limits(clock, per_minute=60)
        for _ in range(10):
            send(limited)
        with pytest.raises(RateLimitError, match="60 requests a minute; wait 1 s") as refused:
            send(limited)
        assert refused.value.retry_after_s == 1
        clock.sleep(1)
        send(limited)
        with pytest.raises(RateLimitError):
            send(limited)

    def test_retry_after_is_rounded_up_so_that_it_always_suffices(self) -> None:
        clock = Clock()
        limited = limits(clock, per_minute=7)
        send(limited)
        clock.sleep(0.9)
        with pytest.raises(RateLimitError) as refused:
            send(limited)
        assert refused.value.retry_after_s == 8
        clock.sleep(8)
        send(limited)

    def test_clients_do_not_share(self) -> None:
        limited = limits(Clock(), per_minute=1)
        send(limited, "ann")
        send(limited, "bob")
        with pytest.raises(RateLimitError):
            send(limited, "ann")

    def test_the_quota_counts_down_and_comes_back(self) -> None:
        clock = Clock()
        limited = limits(clock, per_minute=30)
        assert limited.quota("ann") == Quota(30, 5, 0.0)
        send(limited)
        assert limited.quota("ann") == Quota(30, 4, 2.0)
        send(limited)
        clock.sleep(1.5)
        assert limited.quota("ann") == Quota(30, 3, 2.5)
        clock.sleep(2.5)
        assert limited.quota("ann") == Quota(30, 5, 0.0)

    def test_without_a_limit_there_is_no_quota_and_no_end(self) -> None:
        limited = limits(Clock())
        for _ in range(1000):
            send(limited)
        assert limited.quota("ann") is None


class TestConcurrency:
    def test_one_more_is_refused_until_one_ends(self) -> None:
        limited = limits(Clock(), at_a_time=2)
        with limited.enter("ann"):
            with limited.enter("ann"):
                with pytest.raises(TooManyConcurrentRequestsError, match="2 requests running") as refused:
                    send(limited)
                assert refused.value.retry_after_s == 1
                send(limited, "bob")
            send(limited)

    def test_a_request_that_breaks_gives_its_place_back(self) -> None:
        limited = limits(Clock(), at_a_time=1)
        with pytest.raises(RuntimeError, match="broken"), limited.enter("ann"):
            raise RuntimeError("broken")
        send(limited)

    def test_what_is_refused_counts_for_nothing(self) -> None:
        clock = Clock()
        limited = limits(clock, per_minute=12, at_a_time=1)
        with limited.enter("ann"):
            for _ in range(5):
                with pytest.raises(TooManyConcurrentRequestsError):
                    send(limited)
        send(limited)
        for _ in range(5):
            with pytest.raises(RateLimitError):
                send(limited)
        clock.sleep(5)
        send(limited)


def test_clients_that_have_gone_are_forgotten() -> None:
    clock = Clock()
    limited = limits(clock, per_minute=60)
    with limited.enter("still there"):
        for number in range(1000):
            send(limited, f"client-{number}")
            clock.sleep(0.5)
        assert limited.tracked <= 4
    assert limited.quota("client-999") == Quota(60, 9, 0.5), "the latest is not"


def test_a_client_with_a_request_running_is_never_forgotten() -> None:
    clock = Clock()
    limited = limits(clock, at_a_time=1)
    with limited.enter("ann"):
        clock.sleep(3600)
        send(limited, "bob")
        with pytest.raises(TooManyConcurrentRequestsError):
            send(limited, "ann")
