"""The search for speakers goes on beside the windows, and ends with the request."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.scheduling.pipeline import AudioReady, Pipeline, WindowDone
from deployments.ingress.scheduling.queues import Entry
from deployments.ingress.scheduling.speakers import SpeakersFound
from deployments.ingress.telemetry.record import RequestRecord
from deployments.ingress.telemetry.statistics import Statistics
from deployments.ingress.work import SpeakerWork
from deployments.shared.contracts import SpeakerOptions, SpooledBlob, VoiceSample
from deployments.shared.errors import AudioTooLongError, DeadlineExceededError, InvalidAudioError, StageLostError
from tests.support.pipelines import make_pipeline, make_request, make_work
from tests.support.scripted_stages import PCM, ScriptedStages

ANN = SpooledBlob("/nonexistent/ann")
ASKED = SpeakerWork(2, 3, (("ann", ANN),), embeddings=True)


class Bench:
    def __init__(self, stages: ScriptedStages) -> None:
        self.statistics = Statistics()
        self.admission = Admission(4, 10, None, self.statistics.queue, ageing_s=10)
        self.pipeline: Pipeline = make_pipeline(stages, self.admission, self.statistics, [5.0] * 3)

    async def events(self, asked: SpeakerWork | None = ASKED, seconds: float = 60.0) -> list[object]:
        request, work = make_request(seconds=seconds), replace(make_work(), speakers=asked)
        with self.admission.enter(request.priority, request.time_limit.deadline()) as entry:
            return await self._collected(request, work, entry)

    async def _collected(self, request: object, work: object, entry: Entry) -> list[object]:
        record = RequestRecord("r", "ann")
        return [event async for event in self.pipeline.run(request, work, record, entry)]  # type: ignore[arg-type]


def test_speakers_are_told_once_after_the_audio_and_cost_no_slot() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(3)
        bench = Bench(stages)
        events = await bench.events()
        assert isinstance(events[0], AudioReady)
        assert [type(event) for event in events[1:]].count(SpeakersFound) == 1
        assert sum(isinstance(event, WindowDone) for event in events) == 3
        assert stages.voices == [ANN]
        assert stages.speaker_options == SpeakerOptions(2, 3, (VoiceSample("ann", PCM, 48_000),), embeddings=True)
        assert bench.admission.in_use == 0

    asyncio.run(scenario())


def test_who_did_not_ask_is_not_listened_to() -> None:
    async def scenario() -> None:
        bench = Bench(ScriptedStages(3))
        assert not any(isinstance(event, SpeakersFound) for event in await bench.events(None))
        assert bench.statistics.diarizer.calls.count == 0

    asyncio.run(scenario())


def test_silence_has_no_speakers() -> None:
    async def scenario() -> None:
        assert len(await Bench(ScriptedStages(0)).events()) == 1

    asyncio.run(scenario())


def test_windows_do_not_wait_for_the_speakers() -> None:
    async def scenario() -> None:
        found = asyncio.Event()

        async def late(_: int) -> None:
            await found.wait()

        async def last_window(index: int) -> None:
            if index == 2:
                asyncio.get_running_loop().call_later(0.05, found.set)

        events = await Bench(ScriptedStages(3, last_window, diarizing=late)).events()
        assert isinstance(events[-1], SpeakersFound)

    asyncio.run(scenario())


def test_a_diarizer_that_is_lost_is_asked_again() -> None:
    class Losing(ScriptedStages):
        asked = 0

        async def diarize(self, *arguments: object) -> object:  # type: ignore[override]
            self.asked += 1
            if self.asked == 1:
                raise StageLostError("gone")
            return await super().diarize(*arguments)  # type: ignore[arg-type]

    async def scenario() -> None:
        stages = Losing(1)
        assert any(isinstance(event, SpeakersFound) for event in await Bench(stages).events())
        assert stages.asked == 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "words"),
    [(AudioTooLongError("too long"), "'ann' is too long; send 2 to 10 s"), (InvalidAudioError("bad"), "'ann': bad")],
)
def test_a_reference_that_is_at_fault_is_named(error: InvalidAudioError, words: str) -> None:
    class Refusing(ScriptedStages):
        async def decode_voice(self, *arguments: object) -> object:  # type: ignore[override]
            del arguments
            raise error

    async def scenario() -> None:
        bench = Bench(Refusing(2))
        with pytest.raises(InvalidAudioError, match=words) as refused:
            await bench.events()
        assert refused.value.param == "known_speaker_references"
        assert bench.admission.in_use == 0

    asyncio.run(scenario())


def test_the_search_ends_with_its_request() -> None:
    ended = []

    async def endless(_: int) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(True)
            raise

    async def scenario() -> None:
        bench = Bench(ScriptedStages(2, diarizing=endless))
        with pytest.raises(DeadlineExceededError):
            await bench.events(seconds=0.3)
        await asyncio.sleep(0.01)
        assert ended, "the call in the stage is cancelled"
        assert bench.statistics.diarizer.active == 0

    asyncio.run(scenario())
