"""What a newcomer is told to expect is what it meets: in formulas, and in a simulated queue under overload."""

import asyncio
import random
import time
from collections import Counter

import pytest

from deployments.ingress.request import Priority
from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.scheduling.arrivals import ArrivalRate
from deployments.ingress.scheduling.forecast import BESIDE_OTHERS, Forecast
from deployments.ingress.telemetry.statistics import Statistics
from deployments.shared.errors import OverloadedError, QueueFullError, QueueTimeoutError
from tests.support import virtual_time

AGEING_S = 10.0
HIGH, NORMAL, LOW = Priority


class TestArrivalRate:
    MEMORY_S = 3.0

    def rate(self, *phases: tuple[int, int]) -> tuple[ArrivalRate, float]:
        """After phases of (arrivals a second, seconds)."""
        rate, now = ArrivalRate(), 100.0
        for per_second, seconds in phases:
            for _ in range(per_second * seconds):
                now += 1 / per_second
                rate.arrived(now, self.MEMORY_S)
        return rate, now

    def test_a_steady_rate_is_found(self) -> None:
        rate, now = self.rate((50, 20))
        assert rate.per_second(now, self.MEMORY_S) == pytest.approx(50, rel=0.02)

    def test_a_rise_is_followed_within_seconds_and_silence_forgotten(self) -> None:
        rate, now = self.rate((10, 20), (100, 5))
        assert rate.per_second(now, self.MEMORY_S) > 80
        assert rate.per_second(now + 30, self.MEMORY_S) < 0.1

    def test_one_arrival_is_no_flood(self) -> None:
        rate, now = self.rate((1, 1))
        assert rate.per_second(now, self.MEMORY_S) == pytest.approx(1 / self.MEMORY_S)
        assert rate.per_second(now, 100 * self.MEMORY_S) < 0.01


class TestForecast:
    def forecast(self, per_second: float, arrivals: dict[Priority, int]) -> tuple[Forecast, float]:
        """After a minute in which one slot was freed ``per_second`` and so many a second were asked for."""
        forecast, seconds = Forecast(1, len(Priority), AGEING_S), 60
        for number in range(int(per_second * seconds)):
            forecast.throughput.all_in_use(number / per_second)
            forecast.throughput.freed((number + 1) / per_second)
        for second in range(seconds):
            for priority, count in arrivals.items():
                for number in range(count):
                    forecast.asked(priority, second + number / count)
        return forecast, float(seconds)

    def test_nothing_is_foreseen_before_the_pace_is_known(self) -> None:
        forecast = Forecast(4, len(Priority), AGEING_S)
        assert forecast.wait_s(LOW, 100, 5.0) == forecast.hold_s(5.0) == 0

    def test_the_first_level_waits_for_those_ahead_only(self) -> None:
        forecast, now = self.forecast(10, {HIGH: 5, NORMAL: 50, LOW: 50})
        assert forecast.wait_s(HIGH, 19, now) == pytest.approx(2)
        assert forecast.hold_s(now) == pytest.approx(0.1)

    def test_a_lower_level_gets_what_the_higher_ones_leave(self) -> None:
        forecast, now = self.forecast(10, {HIGH: 5, NORMAL: 3})
        assert forecast.wait_s(NORMAL, 9, now) == pytest.approx(10 / (10 - 5), rel=0.05)
        assert forecast.wait_s(LOW, 9, now) == pytest.approx(10 / (10 - 8), rel=0.2)

    @pytest.mark.parametrize(
        ("window_s", "ageing_s", "in_flight"),
        [(0.01, 10, 16), (0.5, 20, 16), (1.0, 40, 10), (4.0, 40, 2), (30.0, 40, 2)],
    )
    def test_a_slow_service_ages_later_and_has_fewer_windows_in_flight(
        self, window_s: float, ageing_s: float, in_flight: int
    ) -> None:
        forecast = Forecast(16, len(Priority), AGEING_S)
        assert (forecast.ageing_s(0.0), forecast.in_flight(0.0)) == (AGEING_S, 16)
        forecast.foresee(window_s / BESIDE_OTHERS)
        assert forecast.ageing_s(0.0) == pytest.approx(ageing_s)
        assert forecast.in_flight(0.0) == in_flight

    def test_the_mean_turn_follows_the_requests(self) -> None:
        forecast = Forecast(16, len(Priority), AGEING_S)
        assert forecast.turn == 1.0
        for turn in (4, 2, 3):
            forecast.began(turn)
        assert forecast.turn == pytest.approx(3.0)
        for _ in range(200):
            forecast.began(1)
        assert forecast.turn == pytest.approx(1.0, abs=0.01)

    def test_ageing_bounds_how_long_one_is_overtaken(self) -> None:
        forecast, now = self.forecast(10, {HIGH: 50, NORMAL: 50})
        assert forecast.wait_s(NORMAL, 9, now) == pytest.approx(AGEING_S + 1)
        assert forecast.wait_s(LOW, 9, now) == pytest.approx(2 * AGEING_S + 1)

    def test_a_waiter_that_was_lifted_is_overtaken_by_fewer(self) -> None:
        forecast, now = self.forecast(10, {HIGH: 5, NORMAL: 5})
        # Nothing is left for low in its first ten seconds, half of the slots in the next ten.
        assert forecast.wait_s(LOW, 9, now) == pytest.approx(AGEING_S + 2, rel=0.1)


class Simulation:
    """Requests arrive at random at the real admission; stages are sleeps. All on the virtual clock.

    Args:
        load: offered over what the slots can do.
        seed: of everything random.
        mix: priorities, each as likely.
        deadline_s: of every request.

    Attributes:
        outcomes: of all requests.
        answered: requests by priority.
    """

    SLOTS = 16
    CAPACITY = 64.0
    SECONDS = 20.0
    DEADLINE_S = 2.0
    UPLOAD_S = 0.005
    MIX = (HIGH, NORMAL, NORMAL, LOW)
    HOLD_SHAPE = 10  # of a gamma distribution: a third of the mean is its standard deviation

    def __init__(self, load: float, seed: int, mix: tuple[Priority, ...] = MIX, deadline_s: float = DEADLINE_S) -> None:
        self.outcomes: Counter[str] = Counter()
        self.answered: Counter[Priority] = Counter()
        self._load = load
        self._mix = mix
        self._deadline_s = deadline_s
        self._random = random.Random(seed)
        self._admission = Admission(self.SLOTS, 256, None, Statistics().queue, ageing_s=AGEING_S)
        virtual_time.run(self._run())

    @property
    def timed_out(self) -> int:
        """Admitted, and not answered in time."""
        return self.outcomes["waited in vain"] + self.outcomes["worked on in vain"]

    @property
    def refused(self) -> int:
        """Before the upload."""
        return self.outcomes["refused"]

    @property
    def answered_per_s(self) -> float:
        return self.outcomes["answered"] / self.SECONDS

    async def _run(self) -> None:
        requests, until = [], time.monotonic() + self.SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(self._random.expovariate(self._load * self.CAPACITY))
            requests.append(asyncio.create_task(self._request(self._random.choice(self._mix))))
        await asyncio.gather(*requests)

    async def _request(self, priority: Priority) -> None:
        deadline, inside = time.monotonic() + self._deadline_s, False
        try:
            with self._admission.enter(priority, deadline) as entry:
                inside = True
                await asyncio.sleep(self._random.expovariate(1 / self.UPLOAD_S))
                lease = await self._admission.first_slot(entry)
        except (OverloadedError, QueueFullError):
            self.outcomes["refused after its upload" if inside else "refused"] += 1
        except QueueTimeoutError:
            self.outcomes["waited in vain"] += 1
        else:
            hold_s = self.SLOTS / self.CAPACITY
            await asyncio.sleep(self._random.gammavariate(self.HOLD_SHAPE, hold_s / self.HOLD_SHAPE))
            lease.close()
            self.outcomes["answered" if time.monotonic() <= deadline else "worked on in vain"] += 1
            self.answered[priority] += 1


class LongSimulation(Simulation):
    """Long enough for low priority to age, again and again."""

    SECONDS = 60.0


@pytest.mark.parametrize(("load", "seed"), [(2.0, 0), (4.0, 1), (10.0, 2)])
def test_who_cannot_be_answered_is_refused_at_entry_and_no_slot_is_wasted(load: float, seed: int) -> None:
    simulation = Simulation(load, seed)
    unanswered = simulation.outcomes.total() - simulation.outcomes["answered"]
    assert simulation.refused >= 0.9 * unanswered, simulation.outcomes
    assert simulation.timed_out <= 0.08 * unanswered, simulation.outcomes
    assert simulation.answered_per_s >= 0.95 * Simulation.CAPACITY, simulation.outcomes


@pytest.mark.parametrize("seed", range(3))
def test_below_capacity_nobody_is_refused(seed: int) -> None:
    simulation = Simulation(0.8, seed)
    assert simulation.outcomes["answered"] == simulation.outcomes.total()


def test_low_priority_is_served_while_higher_ones_ask_for_more_than_there_is() -> None:
    simulation = LongSimulation(2.0, seed=0, mix=(HIGH, NORMAL, NORMAL, NORMAL, LOW), deadline_s=60.0)
    at_the_beginning = 2 * Simulation.SLOTS  # until the higher ones have filled the queue
    assert simulation.answered[LOW] > at_the_beginning, simulation.answered
    assert simulation.answered[NORMAL] > 5 * simulation.answered[LOW], simulation.answered
