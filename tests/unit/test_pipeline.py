"""One request through scripted stages: order, fairness, cancellation, time-outs; slots always come back."""

import asyncio
import time
from typing import NoReturn

import pytest
from scripted_stages import ScriptedStages

from deployments.contracts import DecodeOptions, SpeechOptions, SpooledBlob
from deployments.errors import (
    AmanuensisError,
    DeadlineExceededError,
    InvalidAudioError,
    ServiceUnavailableError,
    StageTimeoutError,
)
from deployments.scheduling.admission import Admission, Priority
from deployments.scheduling.pipeline import AudioReady, Budgets, Job, Pipeline, WindowDone
from deployments.statistics import Statistics

UPLOAD = SpooledBlob("/nonexistent/upload")


class Bench:
    """A pipeline over scripted stages."""

    def __init__(self, stages: ScriptedStages, *, slots: int = 8, in_flight: int = 4, budget_s: float = 10) -> None:
        self.statistics = Statistics()
        self.admission = Admission(slots, 100, None, self.statistics.queue, ageing_s=10)
        self.pipeline = Pipeline(
            stages,
            self.admission,
            self.statistics,
            budgets=Budgets(budget_s, budget_s, budget_s),
            max_windows_in_flight=in_flight,
            slab_path=None,
        )

    async def texts(self, *, seconds: float = 60, detect: bool = False) -> list[str]:
        job = Job(
            request_id="r",
            upload=UPLOAD,
            speech=SpeechOptions(vad_filter=True, max_window_s=30),
            decode=DecodeOptions(language=None if detect else "en"),
            priority=Priority.NORMAL,
            deadline=time.time() + seconds,
            detect_language=detect,
        )
        texts: list[str] = []
        with self.admission.enter() as entry:
            async for event in self.pipeline.run(job, entry):
                if isinstance(event, WindowDone):
                    texts.append(event.transcript.text)
                else:
                    assert isinstance(event, AudioReady)
        return texts

    async def settled(self) -> bool:
        """Every slot is back once the calls that were given up have ended."""
        for _ in range(1000):
            if self.admission.in_use == 0 and self.admission.waiting == 0:
                return True
            await asyncio.sleep(0.001)
        return False


def test_windows_come_in_order_whatever_order_they_finish_in() -> None:
    async def scenario() -> None:
        async def later_is_faster(index: int) -> None:
            await asyncio.sleep(0.02 / (index + 1))

        bench = Bench(ScriptedStages(20, later_is_faster))
        assert await bench.texts() == [str(index) for index in range(20)]
        assert await bench.settled()

    asyncio.run(scenario())


def test_silence_needs_no_encoder() -> None:
    async def scenario() -> None:
        bench = Bench(ScriptedStages(0))
        assert await bench.texts() == []
        assert bench.statistics.encoder.as_json(1)["total_processed"] == 0
        assert await bench.settled()

    asyncio.run(scenario())


def test_a_long_file_holds_only_its_share_so_a_short_one_passes() -> None:
    async def scenario() -> None:
        async def slowly(_: int) -> None:
            await asyncio.sleep(0.005)

        stages = ScriptedStages(40, slowly)
        bench = Bench(stages, slots=4, in_flight=3)
        finished: list[str] = []

        async def client(name: str, windows: int) -> None:
            stages.windows = windows
            await bench.texts()
            finished.append(name)

        long = asyncio.create_task(client("long", 40))
        await asyncio.sleep(0.01)
        short = asyncio.create_task(client("short", 1))
        await asyncio.gather(long, short)
        assert finished == ["short", "long"]
        assert stages.most_running <= 4

    asyncio.run(scenario())


def test_a_long_file_yields_to_short_ones_after_its_first_turn() -> None:
    async def scenario() -> None:
        finished: list[str] = []
        release = asyncio.Event()

        async def hold(_: int) -> None:
            await release.wait()

        stages = ScriptedStages(40, hold)
        bench = Bench(stages, slots=2, in_flight=2)

        async def client(name: str, windows: int) -> None:
            stages.windows = windows
            await bench.texts()
            finished.append(name)

        long = asyncio.create_task(client("long", 8))
        await asyncio.sleep(0.01)
        shorts = [asyncio.create_task(client("short", 1)) for _ in range(3)]
        await asyncio.sleep(0.01)
        release.set()
        await asyncio.gather(long, *shorts)
        assert finished == ["short"] * 3 + ["long"]
        assert stages.priorities[:2] == [Priority.NORMAL] * 2
        assert stages.priorities.count(Priority.LOW) == 6, "inside the stages too"

    asyncio.run(scenario())


def test_the_first_window_decides_the_language_of_all() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(5)
        await Bench(stages).texts(detect=True)
        assert stages.languages == [None, "de", "de", "de", "de"]

    asyncio.run(scenario())


def test_an_error_of_one_window_ends_the_request_and_frees_every_slot() -> None:
    async def scenario() -> None:
        async def third_fails(index: int) -> None:
            await asyncio.sleep(0.001)
            if index == 2:
                raise InvalidAudioError("bad")

        bench = Bench(ScriptedStages(10, third_fails))
        with pytest.raises(InvalidAudioError):
            await bench.texts()
        assert await bench.settled()
        assert bench.statistics.decoder.as_json(1)["total_errors"] == 1

    asyncio.run(scenario())


class FailingStages(ScriptedStages):
    """One method raises, whichever it is."""

    def __init__(self, method: str) -> None:
        super().__init__(2)
        setattr(self, method, self._fail)

    async def _fail(self, *_: object) -> NoReturn:
        raise ServiceUnavailableError("gone")


@pytest.mark.parametrize(
    ("method", "stage"),
    [
        ("prepare", "stage1_load_mel"),
        ("log_mel", "stage1_load_mel"),
        ("encode", "stage2_encoder"),
        ("decode", "stage3_decoder_align"),
    ],
)
def test_an_error_names_its_stage(method: str, stage: str) -> None:
    async def scenario() -> None:
        with pytest.raises(ServiceUnavailableError) as raised:
            await Bench(FailingStages(method)).texts()
        assert raised.value.stage == stage

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("seconds", "budget_s", "error"), [(0.05, 10, DeadlineExceededError), (60, 0.05, StageTimeoutError)]
)
def test_a_slow_stage_ends_the_request_but_keeps_its_slot_until_it_is_done(
    seconds: float, budget_s: float, error: type[AmanuensisError]
) -> None:
    async def scenario() -> None:
        release = asyncio.Event()

        async def hangs(_: int) -> None:
            await release.wait()

        bench = Bench(ScriptedStages(1, hangs), budget_s=budget_s)
        with pytest.raises(error) as raised:
            await bench.texts(seconds=seconds)
        assert raised.value.stage == "stage3_decoder_align"
        await asyncio.sleep(0.01)
        assert bench.admission.in_use == 1
        release.set()
        assert await bench.settled()
        assert bench.statistics.decoder.as_json(1)["total_timeouts"] == 1

    asyncio.run(scenario())


def test_cancelling_a_request_at_any_moment_loses_no_slot() -> None:
    async def scenario() -> None:
        async def slowly(_: int) -> None:
            await asyncio.sleep(0.003)

        bench = Bench(ScriptedStages(6, slowly), slots=3, in_flight=2)
        for milliseconds in range(12):
            task = asyncio.create_task(bench.texts())
            await asyncio.sleep(milliseconds / 1000)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await bench.settled()
        assert await bench.texts() == [str(index) for index in range(6)]

    asyncio.run(scenario())
