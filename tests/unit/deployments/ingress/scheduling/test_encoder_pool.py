"""Several encoders as one: balance, failures of some, and what health says of all."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.ingress.scheduling.encoder_pool import UNANSWERED, EncoderPool
from deployments.shared.contracts import (
    Area,
    ArrayRef,
    EncodedWindow,
    EncoderHealth,
    SlotArray,
    StageProgress,
    StageTiming,
    Ticket,
)
from deployments.shared.errors import DeviceBrokenError, StageLostError

TICKET = Ticket("request", 0, 1, 0.0, None)
ARRAY = SlotArray(0, 1, Area.LOG_MEL, (80, 100))
LOST = StageLostError("lost")
BROKEN = DeviceBrokenError("broken")


async def at_once() -> None:
    """As short as a call can be."""
    await asyncio.sleep(0)


@dataclass
class Scripted:
    """An encoder that does as it is told."""

    name: str
    delay: Callable[[], Awaitable[None]] = at_once
    error: Exception | None = None
    status: EncoderHealth | Exception = field(default_factory=lambda: EncoderHealth("npu:test", "healthy"))
    calls: int = 0
    stalled_s: float | Exception = 0.0

    async def encode(self, _ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        self.calls += 1
        await self.delay()
        if self.error is not None:
            raise self.error
        return EncodedWindow(log_mel, StageTiming(0.0, 0.0, 1, self.name, "npu:test"))

    async def health(self) -> EncoderHealth:
        if isinstance(self.status, Exception):
            raise self.status
        return self.status

    async def progress(self) -> StageProgress:
        if isinstance(self.stalled_s, Exception):
            raise self.stalled_s
        return StageProgress(self.stalled_s, 5.0)


def pool_of(*encoders: Scripted) -> EncoderPool:
    """The encoders behind handles: a method is called by its ``remote``."""
    names = ("encode", "health", "progress")
    handles: list[Any] = [
        SimpleNamespace(**{name: SimpleNamespace(remote=getattr(encoder, name)) for name in names})
        for encoder in encoders
    ]
    return EncoderPool(handles)


async def encode(pool: EncoderPool) -> str:
    """The encoder that did it."""
    return (await pool.encode(TICKET, ARRAY)).timing.replica


def test_windows_go_to_the_encoder_that_has_the_fewest_outstanding() -> None:
    async def scenario() -> None:
        held = asyncio.Event()

        async def hold() -> None:
            await asyncio.sleep(0)
            await held.wait()

        slow, fast = Scripted("slow", hold), Scripted("fast")
        pool = pool_of(slow, fast)
        waiting = asyncio.create_task(encode(pool))
        await asyncio.sleep(0)
        assert [await encode(pool) for _ in range(5)] == ["fast"] * 5
        held.set()
        assert await waiting == "slow"

        both = asyncio.gather(*(encode(pool) for _ in range(10)))
        assert sorted(await both) == ["fast"] * 5 + ["slow"] * 5

    asyncio.run(scenario())


def test_a_failed_device_costs_no_window_and_gets_no_further_one_until_it_works_again() -> None:
    async def scenario() -> None:
        bad, good = Scripted("bad", error=BROKEN), Scripted("good")
        pool = pool_of(bad, good)
        assert [await encode(pool) for _ in range(4)] == ["good"] * 4
        assert bad.calls == 1
        bad.error = None
        await pool.health()
        assert {await encode(pool) for _ in range(2)} == {"bad"}

    asyncio.run(scenario())


def test_a_lost_encoder_is_left_to_its_successor_and_the_others_serve() -> None:
    async def scenario() -> None:
        dead, alive = Scripted("dead", error=LOST), Scripted("alive")
        pool = pool_of(dead, alive)
        with pytest.raises(StageLostError):
            await encode(pool)
        assert [await encode(pool) for _ in range(3)] == ["alive"] * 3

    asyncio.run(scenario())


async def held() -> None:
    """As long as a call can be."""
    await asyncio.Event().wait()


def test_the_windows_of_an_encoder_that_answers_no_probe_are_given_up_to_be_made_again() -> None:
    async def scenario() -> None:
        gone = Scripted("gone", held, status=LOST)
        pool = pool_of(gone, Scripted("alive"))
        call = asyncio.create_task(encode(pool))
        for _ in range(UNANSWERED - 1):
            await pool.health()
        await asyncio.sleep(0)
        assert not call.done(), "it may only be slow to answer"
        await pool.health()
        with pytest.raises(StageLostError):
            await call
        assert [await encode(pool) for _ in range(3)] == ["alive"] * 3

    asyncio.run(scenario())


def test_an_answer_in_between_starts_the_count_of_unanswered_probes_anew() -> None:
    async def scenario() -> None:
        slow = Scripted("slow", held)
        pool = pool_of(slow, Scripted("alive"))
        call = asyncio.create_task(encode(pool))
        for _ in range(3):
            slow.status = LOST
            for _ in range(UNANSWERED - 1):
                await pool.health()
            slow.status = EncoderHealth("npu:test", "healthy")
            await pool.health()
        assert not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(scenario())


@pytest.mark.parametrize("count", [1, 2])
def test_when_every_device_has_failed_the_caller_hears_it(count: int) -> None:
    async def scenario() -> None:
        pool = pool_of(*(Scripted(str(number), error=BROKEN) for number in range(count)))
        for _ in range(2):
            with pytest.raises(DeviceBrokenError):
                await encode(pool)

    asyncio.run(scenario())


class TestHealth:
    def test_of_one_encoder_is_its_own(self) -> None:
        own = EncoderHealth("npu:test", "degraded", "warm", 3)
        assert asyncio.run(pool_of(Scripted("only", status=own)).health()) == own

    def test_of_several_that_work_is_healthy(self) -> None:
        health = EncoderHealth("npu:test", "healthy", None, 2)
        pool = pool_of(Scripted("a", status=health), Scripted("b", status=health))
        assert asyncio.run(pool.health()) == EncoderHealth("npu:test", "healthy", None, 4)

    def test_of_several_is_as_fast_as_all_that_work_together(self) -> None:
        fast, slow = (EncoderHealth("npu:test", "healthy", window_s=seconds) for seconds in (0.1, 0.4))
        failed = EncoderHealth("npu:test", "failed", "the device is lost", window_s=0.1)
        pool = pool_of(Scripted("a", status=fast), Scripted("b", status=slow), Scripted("c", status=failed))
        assert asyncio.run(pool.health()).window_s == pytest.approx(1 / (10 + 2.5))
        unmeasured = pool_of(Scripted("a", status=fast), Scripted("b"))
        assert asyncio.run(unmeasured.health()).window_s is None

    @pytest.mark.parametrize(
        ("status", "reason"),
        [(EncoderHealth("npu:test", "failed", "the device is lost"), "the device is lost"), (LOST, "does not answer")],
    )
    def test_is_degraded_while_only_some_work(self, status: EncoderHealth | Exception, reason: str) -> None:
        health = asyncio.run(pool_of(Scripted("a"), Scripted("b", status=status)).health())
        assert health.status == "degraded"
        assert health.reason is not None
        assert health.reason.startswith("encoder 2 of 2: ")
        assert reason in health.reason

    def test_is_failed_when_none_works(self) -> None:
        failed = EncoderHealth("npu:test", "failed", "the device is lost")
        health = asyncio.run(pool_of(Scripted("a", status=failed), Scripted("b", status=failed)).health())
        assert health.status == "failed"

    def test_needs_one_that_answers(self) -> None:
        with pytest.raises(StageLostError):
            asyncio.run(pool_of(Scripted("a", status=LOST), Scripted("b", status=LOST)).health())

    def test_one_that_hangs_does_not_hide_the_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("deployments.ingress.scheduling.encoder_pool.PROBE_TIMEOUT_S", 0.01)

        class Hanging(Scripted):
            async def health(self) -> EncoderHealth:
                await asyncio.sleep(10)
                return await super().health()

        health = asyncio.run(pool_of(Hanging("a"), Scripted("b")).health())
        assert (health.status, health.reason) == ("degraded", "encoder 1 of 2: it does not answer")


class TestProgress:
    """Only the encoders that have windows are asked, and the best off answers for all."""

    @staticmethod
    def asked(*stalled_s: float | Exception) -> StageProgress:
        async def scenario() -> StageProgress:
            held = asyncio.Event()

            async def hold() -> None:
                await held.wait()

            busy = [Scripted(str(number), hold, stalled_s=each) for number, each in enumerate(stalled_s)]
            pool = pool_of(*busy, Scripted("idle", hold))
            calls = [asyncio.create_task(encode(pool)) for _ in busy]
            await asyncio.sleep(0)
            try:
                return await pool.progress()
            finally:
                held.set()
                await asyncio.gather(*calls)

        return asyncio.run(scenario())

    def test_one_that_gets_on_shows_that_the_stage_does(self) -> None:
        assert self.asked(30.0, 2.0).stalled_s == 2.0
        assert self.asked(LOST, 2.0).stalled_s == 2.0

    def test_an_idle_one_does_not(self) -> None:
        assert self.asked(30.0).stalled_s == 30.0
        with pytest.raises(StageLostError):
            self.asked(LOST)
