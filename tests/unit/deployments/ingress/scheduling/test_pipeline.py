"""One request through scripted stages: order, fairness, cancellation, time-outs; slots always come back."""

import asyncio
from dataclasses import replace
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.ingress.request import Priority
from deployments.ingress.scheduling.admission import Admission
from deployments.ingress.scheduling.pipeline import MAX_RESTS, AudioReady, WindowDone
from deployments.ingress.telemetry.statistics import Statistics
from deployments.shared.contracts import (
    ArrayRef,
    BlobRef,
    DecodedWindow,
    DecodeOptions,
    DetectedLanguage,
    EncodedWindow,
    Ticket,
    Window,
    WindowMel,
    Word,
)
from deployments.shared.errors import (
    AmanuensisError,
    DeadlineExceededError,
    InvalidAudioError,
    ServiceUnavailableError,
    StageTimeoutError,
)
from tests.support import pipelines
from tests.support.pipelines import make_pipeline, make_request, make_work
from tests.support.scripted_stages import TIMING, ScriptedStages
from tests.support.virtual_time import run


class Bench:
    """A pipeline over scripted stages."""

    def __init__(self, stages: ScriptedStages, *, slots: int = 8, in_flight: int = 4, budget_s: float = 10) -> None:
        self.statistics = Statistics()
        self.admission = Admission(slots, 100, None, self.statistics.queue, ageing_s=10)
        self.pipeline = make_pipeline(
            stages, self.admission, self.statistics, [budget_s] * 3, max_windows_in_flight=in_flight
        )

    async def texts(
        self, *, seconds: float = 60, detect: bool = False, language_before: str | None = None
    ) -> list[str]:
        request, work = make_request(seconds=seconds), make_work(detect=detect)
        work = replace(work, decode=replace(work.decode, language_before=language_before))
        texts: list[str] = []
        with self.admission.enter(request.priority, request.time_limit.deadline()) as entry:
            async for event in pipelines.run(self.pipeline, entry, request, work):
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
        assert bench.statistics.encoder.calls.count == 0
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


def decoded_in(stages: ScriptedStages) -> list[tuple[str | None, str | None]]:
    """Of each window: its language and the one that was not believed."""
    return [(stages.options[i].language, stages.options[i].other_language) for i in range(stages.windows)]


def test_a_window_alone_is_decoded_without_asking_for_its_language_first() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(1)
        await Bench(stages).texts(detect=True)
        assert (stages.detected, stages.languages) == ([], [None])

    asyncio.run(scenario())


def test_a_language_that_was_named_is_not_detected() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(5)
        await Bench(stages).texts()
        assert (stages.detected, set(stages.languages)) == ([], {"en"})

    asyncio.run(scenario())


def test_each_window_has_its_own_language_if_it_is_sure_else_that_of_the_last_sure_one() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(6, likeliest={0: ("nn", 0.3), 2: ("nl", 0.4), 3: ("en", 0.9), 4: ("de", 0.5)})
        await Bench(stages).texts(detect=True)
        assert decoded_in(stages) == [
            ("nn", None),  # doubtful, but nothing else is known; it binds nobody
            ("de", None),
            ("de", "nl"),
            ("en", None),
            ("en", "de"),
            ("de", None),
        ]

    asyncio.run(scenario())


def test_the_first_windows_go_on_in_the_language_before_the_recording_unless_they_are_sure() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(3, likeliest={0: ("nn", 0.3), 1: ("en", 0.9)})
        await Bench(stages).texts(detect=True, language_before="fr")
        assert decoded_in(stages) == [("fr", "nn"), ("en", None), ("de", None)]

    asyncio.run(scenario())


def test_a_silent_window_decides_nothing_and_is_not_asked() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(4, likeliest={3: ("cy", 0.2)}, silent=frozenset({0, 2}))
        await Bench(stages).texts(detect=True)
        assert sorted(stages.detected) == [1, 3]
        assert decoded_in(stages) == [(None, None), ("de", None), ("de", None), ("de", "cy")]

    asyncio.run(scenario())


@settings(deadline=None)
@given(
    likeliest=st.lists(st.tuples(st.sampled_from(["de", "en", "fr"]), st.sampled_from([0.2, 0.5, 0.9])), max_size=12),
    delays=st.lists(st.floats(0, 1), min_size=12, max_size=12),
    slots=st.integers(1, 4),
)
def test_languages_do_not_depend_on_what_is_done_first(
    likeliest: list[tuple[str, float]], delays: list[float], slots: int
) -> None:
    class Slow(ScriptedStages):
        async def detect_language(
            self, ticket: Ticket, states: ArrayRef, window: Window, among: tuple[str, ...]
        ) -> DetectedLanguage:
            await asyncio.sleep(delays[window.index])
            return await super().detect_language(ticket, states, window, among)

    def languages(stages: ScriptedStages, slots: int) -> list[tuple[str | None, str | None]]:
        stages.likeliest = dict(enumerate(likeliest))
        run(Bench(stages, slots=slots).texts(detect=True))
        return decoded_in(stages)

    assert languages(Slow(len(likeliest)), slots) == languages(ScriptedStages(len(likeliest)), 8)


def test_windows_are_encoded_while_the_language_of_earlier_ones_is_sought() -> None:
    class Patient(ScriptedStages):
        encoded = 0
        all_encoded = asyncio.Event()

        async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
            self.encoded += 1
            if self.encoded == 4:
                self.all_encoded.set()
            return await super().encode(ticket, log_mel)

        async def detect_language(
            self, ticket: Ticket, states: ArrayRef, window: Window, among: tuple[str, ...]
        ) -> DetectedLanguage:
            await asyncio.wait_for(self.all_encoded.wait(), 5)
            return await super().detect_language(ticket, states, window, among)

    assert asyncio.run(Bench(Patient(4)).texts(detect=True)) == ["0", "1", "2", "3"]


def test_a_window_that_fails_leaves_no_doubtful_one_waiting() -> None:
    class Failing(ScriptedStages):
        async def detect_language(
            self, ticket: Ticket, states: ArrayRef, window: Window, among: tuple[str, ...]
        ) -> DetectedLanguage:
            if window.index == 2:
                raise InvalidAudioError("bad")
            await asyncio.sleep(0.001)
            return await super().detect_language(ticket, states, window, among)

    async def scenario() -> None:
        bench = Bench(Failing(8, likeliest=dict.fromkeys(range(8), ("de", 0.1))))
        with pytest.raises(InvalidAudioError):
            await bench.texts(detect=True)
        assert await bench.settled()

    asyncio.run(scenario())


class ContinuedStages(ScriptedStages):
    """Each text ends where the script says, and names where it began.

    Attributes:
        ends: by the start of the window: where its text ends, and whether there is one.
    """

    def __init__(self, windows: int, ends: dict[float, float], silent_from: float = 100.0) -> None:
        super().__init__(windows)
        self.ends = ends
        self.silent_from = silent_from
        self.decoded: list[tuple[Window, str | None]] = []

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        self.decoded.append((window, options.language))
        done = await super().decode(ticket, states, window, options, pcm)
        text = f"{window.start_s:g}" if window.start_s < self.silent_from else ""
        words = (Word(text, window.start_s, window.end_s, 0.9),) if text else ()
        end = self.ends.get(window.start_s)
        return replace(done, transcript=replace(done.transcript, text=text, words=words, rest_from_s=end))


def test_what_a_text_left_out_is_decoded_and_joined() -> None:
    async def scenario() -> None:
        stages = ContinuedStages(2, {0.0: 0.3, 0.3: 0.6})
        bench = Bench(stages, slots=1)
        assert await bench.texts(detect=True) == ["0 0.3 0.6", "1"]
        pieces = [window for window, _ in stages.decoded if window.index == 0]
        assert [(piece.start_s, piece.end_s) for piece in pieces] == [(0, 1), (0.3, 1), (0.6, 1)]
        assert [piece.speech for piece in pieces] == [((0, 1),), ((0.3, 1),), ((0.6, 1),)]
        assert {language for _, language in stages.decoded} == {"de"}
        assert bench.statistics.encoder.calls.count == 4
        assert await bench.settled()

    asyncio.run(scenario())


def test_the_rest_of_a_window_alone_keeps_the_language_that_was_found() -> None:
    stages = ContinuedStages(1, {0.0: 0.5})
    assert asyncio.run(Bench(stages).texts(detect=True)) == ["0 0.5"]
    assert [language for _, language in stages.decoded] == [None, "de"]


def test_a_rest_in_another_language_is_decoded_in_it_if_that_is_sure() -> None:
    class Changing(ContinuedStages):
        async def detect_language(
            self, ticket: Ticket, states: ArrayRef, window: Window, among: tuple[str, ...]
        ) -> DetectedLanguage:
            await super().detect_language(ticket, states, window, among)
            return DetectedLanguage("en", 0.9 if window.start_s == 0.3 else 0.3, TIMING)

    stages = Changing(1, {0.0: 0.3, 0.3: 0.6})
    asyncio.run(Bench(stages).texts(detect=True))
    assert [language for _, language in stages.decoded] == [None, "en", "de"]
    named = Changing(1, {0.0: 0.3, 0.3: 0.6})
    asyncio.run(Bench(named).texts())
    assert (named.detected, {language for _, language in named.decoded}) == ([], {"en"})


def test_a_rest_without_text_ends_its_window() -> None:
    stages = ContinuedStages(1, {0.0: 0.4, 0.4: 0.6, 0.6: 0.8}, silent_from=0.5)
    assert asyncio.run(Bench(stages).texts()) == ["0 0.4"]
    assert len(stages.decoded) == 3


class ShortenedStages(ScriptedStages):
    """No window gives a good text before it is encoded in full."""

    def __init__(self, windows: int) -> None:
        super().__init__(windows)
        self.mels: list[tuple[int, bool]] = []
        self.decoded: list[tuple[int, bool, str | None]] = []

    async def log_mel(self, ticket: Ticket, pcm: BlobRef, window: Window) -> WindowMel:
        self.mels.append((window.index, window.in_full))
        return await super().log_mel(ticket, pcm, window)

    async def decode(
        self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
    ) -> DecodedWindow:
        self.decoded.append((window.index, window.in_full, options.language))
        done = await super().decode(ticket, states, window, options, pcm)
        text = done.transcript.text if window.in_full else "bad"
        return replace(done, transcript=replace(done.transcript, text=text, needs_full_window=not window.in_full))


@pytest.mark.parametrize("slots", [1, 8])
def test_a_window_without_a_good_text_is_encoded_in_full(slots: int) -> None:
    async def scenario() -> None:
        stages = ShortenedStages(2)
        bench = Bench(stages, slots=slots)
        assert await bench.texts(detect=True) == ["0", "1"]
        assert sorted(stages.mels) == [(0, True), (1, False), (1, True)]
        assert sorted(stages.decoded) == [(0, False, "de"), (0, True, "de"), (1, False, "de"), (1, True, "de")]
        assert sorted(stages.detected) == [0, 1], "a language is chosen once"
        assert await bench.settled()

    asyncio.run(scenario())


def test_a_window_alone_has_its_language_detected_again_in_full() -> None:
    stages = ShortenedStages(1)
    assert asyncio.run(Bench(stages).texts(detect=True)) == ["0"]
    assert stages.decoded == [(0, False, None), (0, True, None)]


def test_a_text_that_never_gets_on_is_not_continued_for_long() -> None:
    class Endless(ContinuedStages):
        def __init__(self, step_s: float) -> None:
            super().__init__(1, {})
            self.ends = {}
            self.step_s = step_s

        async def decode(
            self, ticket: Ticket, states: ArrayRef, window: Window, options: DecodeOptions, pcm: BlobRef | None
        ) -> DecodedWindow:
            self.ends[window.start_s] = window.start_s + self.step_s
            return await super().decode(ticket, states, window, options, pcm)

    stuck, slow = Endless(0.0), Endless(0.12)
    asyncio.run(Bench(stuck).texts())
    asyncio.run(Bench(slow).texts())
    assert (len(stuck.decoded), len(slow.decoded)) == (1, 1 + MAX_RESTS)


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
        assert bench.statistics.decoder.errors == 1

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
    ("seconds", "budget_s", "error"), [(0.05, 10, DeadlineExceededError), (0.3, 0.05, StageTimeoutError)]
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
        assert bench.statistics.decoder.timeouts == 1

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
