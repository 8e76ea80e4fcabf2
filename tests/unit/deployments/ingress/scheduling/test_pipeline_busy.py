"""Slow stages, hung stages and long files through the real pipeline with default settings, on a virtual clock."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.scheduling.breaker import FAILURES
from deployments.ingress.telemetry.statistics import Statistics
from deployments.shared.contracts import (
    ArrayRef,
    BlobRef,
    EncodedWindow,
    PreparedAudio,
    SpeechOptions,
    StageName,
    StageProgress,
    Ticket,
)
from deployments.shared.errors import AmanuensisError, StageLostError
from deployments.shared.settings import Settings
from deployments.shared.watchdog import ProgressWatch
from tests.support import pipelines, virtual_time
from tests.support.pipelines import make_pipeline, make_request
from tests.support.scripted_stages import ScriptedStages

HOUR = "hour"
HOUR_WORK_S = 30.0
SHORT_WORK_S = 0.05
MEL_STEP_S = 0.5


def now() -> float:
    """Seconds on the virtual clock."""
    return time.monotonic()


class BusyStages(ScriptedStages):
    """An encoder that takes one window after the other, and a MelPreprocessor with a thread for each kind of file.

    What they say of themselves comes from the same watch as in a replica. ``killed`` ends what hangs.
    """

    def __init__(self, windows: int = 1, window_s: float = 0.0) -> None:
        super().__init__(windows)
        settings = Settings.resolve({})
        self.window_s = window_s
        self.hangs = False
        self.killed = asyncio.Event()
        self._device = asyncio.Lock()
        self._lanes = {True: asyncio.Lock(), False: asyncio.Lock()}
        self._watches: dict[StageName, ProgressWatch] = {
            "encoder": ProgressWatch(settings.encoder_budget_s, 5.0, now),
            "mel": ProgressWatch(settings.mel_budget_s, 5.0, now),
        }
        self._watches["encoder"].learn(window_s)
        self._watches["mel"].learn(0.0)

    async def prepare(self, ticket: Ticket, upload: BlobRef, options: SpeechOptions) -> PreparedAudio:
        is_long = ticket.request_id.startswith(HOUR)
        async with self._lanes[is_long]:
            with self._watches["mel"].work() as work:
                for _ in range(round((HOUR_WORK_S if is_long else SHORT_WORK_S) / MEL_STEP_S)):
                    await asyncio.sleep(MEL_STEP_S)
                    work.progressed()
                await asyncio.sleep(0 if is_long else SHORT_WORK_S)
        return await super().prepare(ticket, upload, options)

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        async with self._device:
            with self._watches["encoder"].work():
                if self.hangs:
                    await self.killed.wait()
                    raise StageLostError("its replica was killed")
                await asyncio.sleep(self.window_s)
        return await super().encode(ticket, log_mel)

    def replace_encoder(self) -> None:
        """Serve's answer to a replica that hangs: its calls are lost, those from now on are its successor's."""
        self.hangs = False
        self.killed.set()

    async def progress(self, stage: StageName) -> StageProgress:
        return self._watches[stage].progress() if stage in self._watches else StageProgress(math.inf, 0.0)


class Bench:
    """A pipeline as the service makes it."""

    def __init__(self, stages: ScriptedStages) -> None:
        settings = Settings.resolve({})
        self.statistics = Statistics()
        self.admission = Admission(
            settings.slots, settings.max_queue_size, None, self.statistics.queue, ageing_s=settings.priority_ageing_s
        )
        budgets_s = settings.mel_budget_s, settings.encoder_budget_s, settings.decoder_budget_s
        self.pipeline = make_pipeline(
            stages,
            self.admission,
            self.statistics,
            budgets_s,
            max_windows_in_flight=settings.max_windows_in_flight,
        )

    async def ask(self, name: str = "request", seconds: float = 600.0) -> tuple[str, float]:
        """What became of a request, and after how long."""
        began = time.monotonic()
        request = make_request(name, seconds=seconds)
        try:
            with self.admission.enter(request.priority, request.time_limit.deadline()) as entry:
                async for _ in pipelines.run(self.pipeline, entry, request):
                    pass
        except AmanuensisError as error:
            return error.code, time.monotonic() - began
        return "answered", time.monotonic() - began

    async def ask_at_once(self, *names: str) -> Counter[str]:
        results = await asyncio.gather(*(self.ask(name) for name in names))
        return Counter(outcome for outcome, _ in results)

    @property
    def breakers(self) -> set[str]:
        return {stage.breaker.state for stage in self.pipeline.graph.calls}


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def awaited() -> None:
        await scenario()

    virtual_time.run(awaited())


@pytest.mark.parametrize("window_s", [0.46, 0.93, 3.5, 12.0])
def test_sixteen_requests_at_once_are_all_answered_however_slow_the_encoder(window_s: float) -> None:
    async def scenario() -> None:
        bench = Bench(BusyStages(window_s=window_s))
        assert await bench.ask_at_once(*["request"] * 16) == {"answered": 16}
        assert bench.breakers == {"closed"}

    run(scenario)


def test_a_file_of_several_windows_is_answered_by_a_slow_encoder() -> None:
    async def scenario() -> None:
        bench = Bench(BusyStages(windows=4, window_s=3.5))
        outcome, seconds = await bench.ask()
        assert outcome == "answered"
        assert seconds == pytest.approx(4 * 3.5, abs=0.5)

    run(scenario)


def test_six_hour_long_files_shut_nobody_out() -> None:
    async def scenario() -> None:
        bench = Bench(BusyStages())
        long = [asyncio.create_task(bench.ask(f"{HOUR} {number}")) for number in range(6)]
        await asyncio.sleep(1)
        short = []
        for number in range(40):
            short.append(asyncio.create_task(bench.ask(f"short {number}")))
            await asyncio.sleep(0.5)
        results = [await task for task in short]
        assert {outcome for outcome, _ in results} == {"answered"}
        assert sorted(seconds for _, seconds in results)[37] < 2
        assert [(await task)[0] for task in long] == ["answered"] * 6
        assert bench.breakers == {"closed"}

    run(scenario)


def test_hour_long_files_alone_are_not_taken_for_a_hung_stage() -> None:
    async def scenario() -> None:
        bench = Bench(BusyStages())
        assert await bench.ask_at_once(*(f"{HOUR} {number}" for number in range(6))) == {"answered": 6}

    run(scenario)


def test_a_stuck_encoder_costs_no_request_when_it_is_replaced() -> None:
    async def scenario() -> None:
        stages = BusyStages(window_s=0.5)
        bench = Bench(stages)
        stages.hangs = True
        outcomes = asyncio.create_task(bench.ask_at_once(*["request"] * FAILURES))
        await asyncio.sleep(10)
        encoder = bench.pipeline.graph.encoder
        assert (encoder.hung, encoder.breaker.state) == (True, "closed")
        stages.replace_encoder()
        assert await outcomes == {"answered": FAILURES}
        assert bench.admission.in_use == 0
        assert not encoder.hung

    run(scenario)


def test_one_that_is_not_replaced_costs_those_it_holds_and_closes_the_service() -> None:
    async def scenario() -> None:
        stages = BusyStages(window_s=0.5)
        bench = Bench(stages)
        stages.hangs = True
        assert await bench.ask_at_once(*["request"] * FAILURES) == {"stage_timeout": FAILURES}
        encoder = bench.pipeline.graph.encoder
        assert (encoder.hung, encoder.breaker.state) == (True, "open")
        assert bench.admission.in_use == FAILURES, "their calls are not over"
        stages.replace_encoder()
        await asyncio.sleep(10)
        assert bench.admission.in_use == 0
        assert not encoder.hung

    run(scenario)


def test_a_request_that_has_begun_waits_for_a_stage_that_is_left_alone_and_a_new_one_is_refused() -> None:
    async def scenario() -> None:
        bench = Bench(BusyStages(window_s=1.0))
        begun = asyncio.create_task(bench.ask())
        await asyncio.sleep(SHORT_WORK_S / 2)
        for stage in (bench.pipeline.graph.mel, bench.pipeline.graph.encoder):
            stage.breaker._open_until = time.monotonic() + 5
        assert await bench.ask() == ("circuit_open", 0.0)
        outcome, seconds = await begun
        assert outcome == "answered"
        assert seconds == pytest.approx(5 + 1, abs=0.3)

    run(scenario)
