"""When an utterance that is still spoken is transcribed: not too early, not too often, one at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from deployments.ingress.live.configuration import UtteranceForm
from deployments.ingress.live.outbox import Outbox
from deployments.ingress.live.session_voices import SessionVoices
from deployments.ingress.live.timeline import Timeline
from deployments.ingress.live.utterance import Draft, EarlyText, Utterance
from deployments.ingress.transcription import Transcription
from deployments.shared.frames import SAMPLE_RATE
from tests.support import virtual_time
from tests.support.live import ScriptedTranscriber, settle, transcription_of


class Speaker:
    """Somebody who speaks since the start of the session."""

    def __init__(self) -> None:
        self.transcriber = ScriptedTranscriber()
        self.timeline = Timeline()
        self.outbox = Outbox()
        self.utterance = Utterance(
            "item", 0, UtteranceForm.model_validate({}), self.transcriber, self.outbox, SessionVoices()
        )
        self.speech_end = 0

    async def go_on(self, seconds: float, *, speaks: bool = True) -> None:
        self.timeline.append(np.zeros(round(seconds * SAMPLE_RATE), np.int16))
        self.speech_end = self.timeline.end if speaks else self.speech_end
        self.utterance.hear(self.timeline, self.timeline.end, self.speech_end)
        await settle()

    @property
    def asked(self) -> list[float]:
        return [seconds for seconds, _ in self.transcriber.asked]


def run(scenario: Callable[[Speaker], Awaitable[None]]) -> Speaker:
    async def whole() -> Speaker:
        speaker = Speaker()
        await scenario(speaker)
        await speaker.utterance.give_up()
        return speaker

    return virtual_time.run(whole())


def test_less_than_0_8_s_is_not_transcribed_and_a_third_of_a_second_more_each_time() -> None:
    async def scenario(speaker: Speaker) -> None:
        for _ in range(22):
            await speaker.go_on(0.1)

    assert run(scenario).asked == [0.8, 1.2, 1.6, 2.0]


def test_a_pause_is_used_because_no_word_is_cut_there_but_only_once() -> None:
    async def scenario(speaker: Speaker) -> None:
        await speaker.go_on(1.0)
        await speaker.go_on(0.2)
        for _ in range(20):
            await speaker.go_on(0.1, speaks=False)

    assert run(scenario).asked == [1.0, 1.4]


def test_no_two_transcriptions_of_an_utterance_run_at_the_same_time() -> None:
    async def scenario(speaker: Speaker) -> None:
        speaker.transcriber.before = lambda: asyncio.sleep(3)
        for _ in range(50):
            await speaker.go_on(0.1)
            assert speaker.transcriber.running <= 1

    assert run(scenario).asked == [0.8]


@pytest.mark.parametrize(
    ("language", "logprob", "told"),
    [("en", 0.0, ["one", " two"]), (None, 0.0, ["one two"]), ("en", -1.0, ["one two"])],
)
def test_a_sure_draft_is_told_at_once_where_its_language_is_sure_too(
    language: str | None, logprob: float, told: list[str]
) -> None:
    async def scenario(speaker: Speaker) -> None:
        speaker.transcriber.text = "one two"
        speaker.transcriber.language, speaker.transcriber.logprob = language, logprob
        await speaker.go_on(1.0)
        await speaker.utterance.finish(b"", None)
        events = [json.loads(await speaker.outbox.next()) for _ in range(len(told) + 1)]
        assert [event.get("delta") for event in events] == [*told, None]

    run(scenario)


def test_where_the_service_is_slow_it_is_asked_less_often() -> None:
    async def scenario(speaker: Speaker) -> None:
        speaker.transcriber.before = lambda: asyncio.sleep(2)
        for _ in range(80):
            await speaker.go_on(0.1)
            await asyncio.sleep(0.1)

    assert [round(seconds, 1) for seconds in run(scenario).asked] == [0.8, 2.8, 4.8, 6.8]


def test_the_whole_does_not_wait_for_a_part() -> None:
    async def scenario(speaker: Speaker) -> None:
        speaker.transcriber.before = lambda: asyncio.sleep(3)
        await speaker.go_on(1.0)
        speaker.transcriber.before = None
        await speaker.utterance.finish(b"", None)
        assert speaker.transcriber.given_up == 1

    run(scenario)


class TestTheTextOfAPause:
    @staticmethod
    async def pause(speaker: Speaker) -> None:
        await speaker.go_on(1.0)
        await speaker.go_on(0.3, speaks=False)

    def test_it_is_that_of_the_utterance_if_nothing_follows(self) -> None:
        async def scenario(speaker: Speaker) -> None:
            await self.pause(speaker)
            await speaker.go_on(0.2, speaks=False)
            speaker.transcriber.text = "not asked for"
            assert await speaker.utterance.finish(bytes(3 * SAMPLE_RATE), speaker.speech_end) is None
            while not (event := json.loads(await speaker.outbox.next()))["type"].endswith("completed"):
                pass
            assert event["transcript"] == "one two three four five"
            assert event["usage"] == {"type": "duration", "seconds": 1.5}

        transcriber = run(scenario).transcriber
        assert transcriber.asked == [(1.0, False), (1.3, False)]
        assert transcriber.accepted == ["one two three four five"]

    def test_it_is_waited_for_where_it_is_under_way(self) -> None:
        async def scenario(speaker: Speaker) -> None:
            await speaker.go_on(1.0)
            speaker.transcriber.before = lambda: asyncio.sleep(3)
            await speaker.go_on(0.3, speaks=False)
            await speaker.utterance.finish(b"", speaker.speech_end)

        transcriber = run(scenario).transcriber
        assert (len(transcriber.asked), len(transcriber.accepted), transcriber.given_up) == (2, 1, 0)

    @pytest.mark.parametrize("ends", ["is spoken on", "somebody whispers", "the client commits", "there is none"])
    def test_otherwise_the_whole_is_transcribed(self, ends: str) -> None:
        async def scenario(speaker: Speaker) -> None:
            speaker.transcriber.finds_early = ends != "there is none"
            await self.pause(speaker)
            await speaker.go_on(0.1, speaks=ends == "is spoken on")
            sound_end = speaker.timeline.end if ends == "somebody whispers" else speaker.speech_end
            await speaker.utterance.finish(bytes(3 * SAMPLE_RATE), None if "client" in ends else sound_end)

        transcriber = run(scenario).transcriber
        assert transcriber.asked[-1] == (1.5, True)
        assert transcriber.accepted == []

    def test_speakers_are_told_apart_only_where_an_utterance_is_complete(self) -> None:
        async def scenario(speaker: Speaker) -> None:
            form = UtteranceForm.model_validate({"speakers": True})
            speaker.utterance = Utterance("item", 0, form, speaker.transcriber, speaker.outbox, SessionVoices())
            await self.pause(speaker)
            await speaker.utterance.finish(bytes(3 * SAMPLE_RATE), speaker.speech_end)

        assert run(scenario).transcriber.asked[1:] == [(1.3, False), (1.5, True)]


def languages_asked(speaker: Speaker) -> list[str | None]:
    return [form.language for form in speaker.transcriber.forms]


def test_the_language_on_which_two_drafts_agree_is_not_detected_again_until_the_utterance_is_whole() -> None:
    async def scenario(speaker: Speaker) -> None:
        for language in ("en", None, "de", "de", None, "fr"):
            speaker.transcriber.language = language
            await speaker.go_on(1.0)
        await speaker.utterance.finish(b"", None)

    assert languages_asked(run(scenario)) == [None, None, None, None, "de", "de", None]


def test_the_language_that_the_client_names_stays() -> None:
    async def scenario(speaker: Speaker) -> None:
        form = UtteranceForm.model_validate({"language": "fr"})
        speaker.utterance = Utterance("item", 0, form, speaker.transcriber, Outbox(), SessionVoices())
        speaker.transcriber.language = "de"
        for _ in range(3):
            await speaker.go_on(1.0)

    assert languages_asked(run(scenario)) == ["fr"] * 3


class WordsInTheAudio(ScriptedTranscriber):
    """Hears a word in each second of which at least half is there: the value of its samples is its number."""

    async def partial(self, request_id: str, form: UtteranceForm, pcm: bytes) -> Draft | None:
        await super().partial(request_id, form, pcm)
        return Draft(self._text(pcm), self.language)

    async def early(self, request_id: str, form: UtteranceForm, pcm: bytes) -> EarlyText | None:
        await super().early(request_id, form, pcm)
        return EarlyText(transcription_of(self._text(pcm), len(pcm) / 2 / SAMPLE_RATE), lambda: None)

    async def whole(self, request_id: str, form: UtteranceForm, pcm: bytes) -> Transcription:
        await super().whole(request_id, form, pcm)
        return transcription_of(self._text(pcm), len(pcm) / 2 / SAMPLE_RATE)

    @staticmethod
    def _text(pcm: bytes) -> str:
        values, counts = np.unique(np.frombuffer(pcm, np.int16), return_counts=True)
        return " ".join(f"w{value}" for value, count in zip(values, counts, strict=True) if value and count >= 8000)


async def speak_with_pauses(speaker: Speaker, seconds: int) -> bytes:
    """Say a word a second, with a pause after every third one; return all audio."""
    for word in range(1, seconds + 1):
        for _ in range(10):
            speaker.timeline.append(np.full(SAMPLE_RATE // 10, word, np.int16))
            speaker.speech_end = speaker.timeline.end
            speaker.utterance.hear(speaker.timeline, speaker.timeline.end, speaker.speech_end)
            await settle()
        if word % 3 == 0:
            for _ in range(3):
                await speaker.go_on(0.1, speaks=False)
    return speaker.timeline.between(0, speaker.timeline.end)


def test_what_is_told_before_a_pause_is_not_transcribed_again_until_the_utterance_is_whole() -> None:
    async def scenario(speaker: Speaker) -> None:
        outbox = Outbox()
        speaker.transcriber = WordsInTheAudio()
        speaker.utterance = Utterance(
            "item", 0, UtteranceForm.model_validate({}), speaker.transcriber, outbox, SessionVoices()
        )
        pcm = await speak_with_pauses(speaker, 12)
        assert await speaker.utterance.finish(pcm, speaker.speech_end) is None
        deltas, event = "", json.loads(await outbox.next())
        while not event["type"].endswith("completed"):
            deltas, event = deltas + event["delta"], json.loads(await outbox.next())
        assert deltas == event["transcript"] == " ".join(f"w{word}" for word in range(1, 13))

    asked = run(scenario).asked
    assert asked[-1] > 12
    assert max(asked[:-1]) < 6
