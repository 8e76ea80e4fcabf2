"""A service as slow as real Whisper on two cores under load: who is let in is answered, who is not is told when."""

import asyncio
import time
from collections.abc import Callable, Coroutine

import pytest

from deployments.ingress.request import Priority
from tests.support import virtual_time
from tests.support.busy_service import BusyService

MINUTES = 6
REFUSALS = {"overloaded", "queue_full"}
HOUR = 130  # windows


def simulated(scenario: Callable[[BusyService], Coroutine[None, None, None]], service: dict[str, float]) -> BusyService:
    async def run() -> BusyService:
        busy = BusyService(**service)  # type: ignore[arg-type]
        await scenario(busy)
        return busy

    return virtual_time.run(run())


def closed_loop(clients: int, *, windows: int = 1, high: int = 0, **service: float) -> BusyService:
    """All clients come in the first second after the start."""

    async def scenario(busy: BusyService) -> None:
        until = time.monotonic() + 60 * MINUTES
        await asyncio.gather(
            *(busy.client(f"client {number}", until, windows=windows) for number in range(clients)),
            *(busy.client(f"high {number}", until, priority=Priority.HIGH) for number in range(high)),
        )

    return simulated(scenario, service)


def shorts_beside(files: int, *, every_s: float, minutes: int = 20) -> BusyService:
    """``files`` recordings of one hour come at once, and beside them one short request in so many seconds."""

    async def scenario(busy: BusyService) -> None:
        asked = [asyncio.create_task(busy.ask(f"hour {number}", windows=HOUR)) for number in range(files)]
        for number in range(int(60 * minutes / every_s)):
            high = number % 10 == 0
            name, priority = ("high", Priority.HIGH) if high else ("short", Priority.NORMAL)
            asked.append(asyncio.create_task(busy.ask(name, priority=priority)))
            await asyncio.sleep(every_s)
        await asyncio.gather(*asked)

    return simulated(scenario, {})


def kept(busy: BusyService) -> float:
    """The share of those that came back when they were told to and were answered."""
    again = [outcome.code == "ok" for outcome in busy.outcomes if outcome.again]
    return sum(again) / len(again)


def quantile(seconds: list[float], share: float) -> float:
    return seconds[int(share * (len(seconds) - 1))]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("clients", [16, 64, 256])
def test_who_is_let_in_is_answered_and_nothing_else_than_a_refusal_meets_the_others(clients: int, seed: int) -> None:
    busy = closed_loop(clients, seed=seed)
    codes = busy.codes()
    assert codes.keys() <= {"ok", *REFUSALS}, codes
    assert codes["ok"] >= 0.97 * 60 * MINUTES, "a window a second is what the service can do"
    if clients == 16:
        assert codes.keys() == {"ok"}
    else:
        assert kept(busy) >= 0.8, "Retry-After is the time after which one gets in"


@pytest.mark.parametrize("clients", [64, 256])
def test_high_priority_keeps_its_latency(clients: int) -> None:
    busy = closed_loop(clients, high=1)
    assert busy.codes("high").keys() == {"ok"}
    assert quantile(busy.seconds("high"), 0.5) < 5
    assert quantile(busy.seconds("high"), 0.99) < 8


@pytest.mark.parametrize(
    ("measured_s", "encoder_s"), [(1.0, 1.4), (4.0, 0.5), (4.0, 4.0), (12.0, 12.0)], ids=lambda seconds: f"{seconds}s"
)
def test_a_cold_start_is_right_although_the_pace_turns_out_another(measured_s: float, encoder_s: float) -> None:
    busy = closed_loop(256, measured_s=measured_s, encoder_s=encoder_s)
    codes = busy.codes()
    assert codes.keys() <= {"ok", *REFUSALS}, codes
    assert codes["ok"] >= 0.9 * 60 * MINUTES / encoder_s


def test_files_of_a_few_windows_do_not_queue_again_for_each() -> None:
    busy = closed_loop(64, windows=2)
    codes = busy.codes()
    assert codes.keys() <= {"ok", *REFUSALS}, codes
    assert codes["ok"] >= 0.95 * 60 * MINUTES / 2


def test_six_recordings_of_an_hour_shut_nobody_out_and_are_answered() -> None:
    busy = shorts_beside(6, every_s=3.0)
    assert busy.codes("hour") == {"ok": 6}
    assert busy.codes("high").keys() == {"ok"}
    shorts = busy.codes("short")
    assert shorts["ok"] >= 0.98 * shorts.total(), shorts
    assert quantile(busy.seconds("short"), 0.5) < 5
    assert quantile(busy.seconds("short"), 0.95) < 10
    assert quantile(busy.seconds("high"), 0.95) < 5


def test_recordings_of_an_hour_are_answered_also_where_short_requests_take_all_they_can_get() -> None:
    busy = shorts_beside(6, every_s=1.0)
    assert busy.codes("hour") == {"ok": 6}
    assert busy.codes("short").keys() <= {"ok", *REFUSALS}
    assert max(busy.seconds("hour")) < 3600


def test_one_recording_of_an_hour_is_hardly_noticed() -> None:
    busy = shorts_beside(1, every_s=3.0, minutes=3)
    assert busy.codes().keys() == {"ok"}
    assert quantile(busy.seconds("short"), 0.95) < 3
