"""A live session without sockets: what a client is told of what it says, in which order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from deployments.ingress.live.items import MOST_UNTOLD
from deployments.ingress.live.session import MOST_WAITING
from deployments.shared.errors import LiveAudioTooFastError, OverloadedError, UnsupportedLanguageError
from tests.support import virtual_time
from tests.support.live import (
    CLEAR,
    COMMIT,
    MANUAL,
    PCM_16,
    VAD,
    Bench,
    ScriptedTranscriber,
    append,
    session_update,
    settle,
    silence,
    speech,
)

TURN = ["committed", "added", "done", "delta", "completed"]


def run(scenario: Callable[[Bench], Awaitable[None]], **settings: Any) -> Bench:
    """What a client was told in a scenario, on the virtual clock."""

    async def whole() -> Bench:
        bench = Bench(**settings)
        await settle()
        try:
            await scenario(bench)
            await settle()
        finally:
            await bench.close()
        assert bench.transcriber.running == 0
        return bench

    return virtual_time.run(whole())


def kinds(bench: Bench) -> list[str]:
    return [kind.removeprefix("input_audio_buffer.") for kind in bench.types]


def test_a_turn_is_heard_committed_and_told() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, silence(1), speech(0.5), silence(1))

    bench = run(scenario)
    assert kinds(bench) == ["session.created", "session.updated", "speech_started", "speech_stopped", *TURN]
    started, stopped = bench.events("speech_started")[0], bench.events("speech_stopped")[0]
    assert 600 < started["audio_start_ms"] <= 700, "0.3 s before the speech"
    assert 1950 < stopped["audio_end_ms"] <= 2150, "0.5 s behind it"
    assert {event["item_id"] for event in bench.told if "item_id" in event} == {started["item_id"]}
    assert bench.events("completed")[0]["transcript"] == bench.transcriber.text
    assert abs(bench.transcriber.asked[-1][0] - (stopped["audio_end_ms"] - started["audio_start_ms"]) / 1000) < 0.002


def test_words_are_told_while_they_are_spoken_and_the_deltas_joined_are_the_transcript() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, *[speech(0.1)] * 40, silence(1))

    bench = run(scenario)
    deltas = [event["delta"] for event in bench.events("delta")]
    assert len(deltas) > 2, "more than the last one"
    assert "".join(deltas) == bench.events("completed")[0]["transcript"] == bench.transcriber.text
    first_delta, stopped = bench.types.index("delta"), bench.types.index("input_audio_buffer.speech_stopped")
    assert first_delta < stopped


def test_items_name_the_item_before_them() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, *[speech(0.5), silence(1)] * 3)

    bench = run(scenario)
    committed = bench.events("committed")
    assert [event["previous_item_id"] for event in committed] == [None, *(each["item_id"] for each in committed[:-1])]
    assert [event["previous_item_id"] for event in bench.events("item.added")] == [
        event["previous_item_id"] for event in committed
    ]


def test_the_older_form_of_the_protocol_has_its_own_events() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(
            {"type": "transcription_session.update", "session": {}}, speech(0.5, 24_000), silence(1, 24_000)
        )

    bench = run(scenario, dialect="beta")
    assert kinds(bench) == [
        *("session.created", "transcription_session.updated", "speech_started", "speech_stopped"),
        *("committed", "created", "delta", "completed"),
    ]


@pytest.mark.parametrize(
    ("sent", "audio"),
    [
        (PCM_16, speech(0.5)),
        ({"type": "audio/pcm"}, speech(0.5, 24_000)),
        ({"type": "audio/pcmu"}, bytes(range(0, 160, 40)) * 1000),
        ({"type": "audio/pcma"}, bytes(range(0, 160, 40)) * 1000),
    ],
)
def test_audio_comes_as_base64_or_as_it_is_in_every_format(sent: dict[str, Any], audio: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(session_update(format=sent, turn_detection=None), append(audio), audio, COMMIT)

    seconds = {"audio/pcm": 0.5}.get(sent["type"], 0.5)
    bench = run(scenario)
    assert abs(bench.transcriber.asked[0][0] - 2 * seconds) < 0.005
    assert bench.types[-1] == "completed"


def test_without_turn_detection_the_client_says_what_an_utterance_is() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(MANUAL, silence(0.5), speech(1), COMMIT, speech(2), COMMIT)

    bench = run(scenario)
    assert kinds(bench)[2:] == TURN * 2
    assert bench.transcriber.asked == [(1.5, True), (2.0, True)]


def test_a_commit_of_nothing_is_an_error_and_the_session_goes_on() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(MANUAL, {**COMMIT, "event_id": "mine"}, speech(0.05), COMMIT, speech(1), COMMIT)

    bench = run(scenario)
    nothing, little = (event["error"] for event in bench.events("error"))
    assert (nothing["code"], nothing["event_id"]) == ("input_audio_buffer_commit_empty", "mine")
    assert "holds 50 ms" in little["message"]
    assert bench.events("completed")


def test_a_client_may_commit_while_somebody_speaks_and_the_rest_is_another_item() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, COMMIT, speech(1), COMMIT, speech(1), silence(1))

    bench = run(scenario)
    assert bench.events("error")[0]["error"]["code"] == "input_audio_buffer_commit_empty", "nobody spoke before"
    assert len(bench.events("completed")) == 2
    assert len(bench.events("speech_stopped")) == 1
    first, second = (seconds for seconds, is_whole in bench.transcriber.asked if is_whole)
    assert 0.9 <= first <= 1.1
    assert 1.3 <= second <= 1.6


def test_what_is_cleared_is_never_transcribed() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, speech(1), CLEAR, silence(2), MANUAL, speech(1), CLEAR, speech(0.5), COMMIT)

    bench = run(scenario)
    assert len(bench.events("cleared")) == 2
    assert [seconds for seconds, is_whole in bench.transcriber.asked if is_whole] == [0.5]


def test_a_speech_without_end_becomes_items_that_the_model_can_hear_and_none_of_it_is_lost() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, *[speech(1)] * 70, silence(1))

    bench = run(scenario)
    whole = [seconds for seconds, is_whole in bench.transcriber.asked if is_whole]
    assert len(whole) == 3
    assert max(whole) <= 28.0
    assert abs(sum(whole) - 70.5) < 0.2, "with the silence behind"
    assert kinds(bench).count("speech_started") == kinds(bench).count("speech_stopped") == 3


def test_a_failed_utterance_is_told_with_its_error_and_the_next_one_is_served() -> None:
    transcriber = ScriptedTranscriber()
    transcriber.error = OverloadedError("Too much to do")

    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, speech(0.5), silence(1))
        transcriber.error = None
        await bench.say(speech(0.5), silence(1))

    bench = run(scenario, transcriber=transcriber)
    failed, completed = bench.events("failed")[0], bench.events("completed")[0]
    assert failed["error"] == OverloadedError("Too much to do").body()["error"]
    assert failed["item_id"] != completed["item_id"]


def test_no_more_utterances_wait_for_their_texts_than_may() -> None:
    transcriber = ScriptedTranscriber()
    transcriber.before = lambda: asyncio.sleep(10)

    async def scenario(bench: Bench) -> None:
        await bench.say(MANUAL)
        for _ in range(MOST_UNTOLD + 2):
            await bench.say(speech(0.2), COMMIT)
        await asyncio.sleep(11)

    bench = run(scenario, transcriber=transcriber)
    assert len(bench.events("completed")) == MOST_UNTOLD
    assert [event["error"]["code"] for event in bench.events("failed")] == ["too_many_utterances"] * 2


def test_a_buffer_that_nobody_commits_has_an_end() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(MANUAL, *[speech(30)] * 5, COMMIT)

    bench = run(scenario)
    assert [event["error"]["code"] for event in bench.events("error")] == ["input_audio_buffer_full"]
    assert bench.transcriber.asked == [(120.0, True)]


def test_audio_that_comes_faster_than_it_is_heard_ends_the_session() -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(20):
            bench.session.receive(speech(2))
        with pytest.raises(LiveAudioTooFastError, match="60 s"):
            bench.session.receive(speech(60))

    run(scenario)


def test_a_change_of_the_format_is_no_way_around_that() -> None:
    dense, sparse = session_update(format={"type": "audio/pcm"}), session_update(format={"type": "audio/pcmu"})

    async def scenario(bench: Bench) -> None:
        for _ in range(5):
            for message in (json.dumps(sparse), speech(10), json.dumps(dense)):
                bench.session.receive(message)
            await settle()
        for _ in range(3):
            bench.session.receive(speech(25))
        with pytest.raises(LiveAudioTooFastError):
            bench.session.receive(speech(25))

    run(scenario)


def test_a_message_that_no_session_could_want_is_not_even_read() -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(LiveAudioTooFastError):
            bench.session.receive('{"type": "nonsense", "x": "' + "y" * 5_000_000 + '"}')

    run(scenario)


def test_events_without_audio_are_bounded_too() -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(MOST_WAITING):
            bench.session.receive(b"")
        with pytest.raises(LiveAudioTooFastError):
            bench.session.receive(b"")

    run(scenario)


def test_a_recording_at_any_speed_is_heard_where_it_waits_for_what_was_heard() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, *[speech(3) + silence(1)] * 40)

    bench = run(scenario)
    assert len(bench.events("completed")) == 40


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("no json", "invalid_request", None),
        ("[1]", "invalid_request", None),
        ("[" * 100_000, "invalid_request", None),
        ('{"type": "nonsense"}', "invalid_request", "type"),
        ('{"type": {}}', "invalid_request", "type"),
        ('{"type": "input_audio_buffer.append"}', "invalid_request", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "@@"}', "invalid_request", "audio"),
        ('{"type": "session.update"}', "invalid_request", "session"),
        ('{"type": "session.update", "session": {"type": "realtime"}}', "unsupported_parameter", "session.type"),
        ('{"type": "response.create"}', "unsupported_event", "type"),
        ('{"type": "conversation.item.retrieve", "item_id": "x"}', "unsupported_event", "type"),
    ],
)
def test_what_is_no_event_is_answered_with_an_error(message: str, code: str, param: str | None) -> None:
    async def scenario(bench: Bench) -> None:
        bench.session.receive(message)
        await settle()

    (event,) = run(scenario).events("error")
    assert (event["error"]["code"], event["error"]["param"]) == (code, param)


def test_what_the_model_cannot_do_is_rejected_and_all_stays_as_it_was() -> None:
    transcriber = ScriptedTranscriber()
    transcriber.rejects = UnsupportedLanguageError("No such language", param="language")

    async def scenario(bench: Bench) -> None:
        await bench.say(session_update(format=PCM_16, transcription={"language": "xx"}), speech(0.5), silence(1))

    bench = run(scenario, transcriber=transcriber)
    assert bench.events("error")[0]["error"]["code"] == "unsupported_language"
    assert bench.transcriber.forms[-1].language is None


def test_a_change_of_the_turn_detection_commits_what_is_being_spoken() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, speech(1), MANUAL, speech(1), COMMIT)

    bench = run(scenario)
    assert [round(seconds, 1) for seconds, is_whole in bench.transcriber.asked if is_whole] == [1.0, 1.0]


def test_what_was_asked_for_beside_the_text_comes_with_the_whole_text_only() -> None:
    include = [f"item.input_audio_transcription.{name}" for name in ("logprobs", "words")]
    asked = {"type": "session.update", "session": {"type": "transcription", "include": include}}

    async def scenario(bench: Bench) -> None:
        await bench.say(asked, session_update(format=PCM_16), silence(2), *[speech(0.1)] * 20, silence(1))

    bench = run(scenario, transcriber=ScriptedTranscriber("one two"))
    (completed,) = bench.events("completed")
    start_s = bench.events("speech_started")[0]["audio_start_ms"] / 1000
    assert [word["word"] for word in completed["words"]] == ["one", "two"]
    assert abs(completed["words"][1]["start"] - start_s - 0.1) < 0.002, "from the start of all audio"
    assert completed["logprobs"][0] == {"token": " one", "bytes": [*b" one"], "logprob": -0.5}
    assert "words" not in bench.events("delta")[0]


def test_the_speakers_of_utterances_are_told_apart_over_the_session() -> None:
    include = [f"item.input_audio_transcription.{name}" for name in ("speakers", "words")]
    asked = {"type": "session.update", "session": {"type": "transcription", "include": include}}
    transcriber = ScriptedTranscriber("one two.")
    transcriber.voices = [(1.0, 0.0), (0.0, 1.0), (0.8, 0.6)]

    async def scenario(bench: Bench) -> None:
        for _ in range(3):
            await bench.say(asked, MANUAL, speech(1), COMMIT)
            await settle()

    completed = run(scenario, transcriber=transcriber).events("completed")
    assert [event["segments"][0]["speaker"] for event in completed] == ["A", "B", "A"]
    assert [[word["speaker"] for word in event["words"]] for event in completed] == [["A"] * 2, ["B"] * 2, ["A"] * 2]
    assert completed[1]["segments"] == [{"text": "one two.", "start": 1.0, "end": 1.2, "speaker": "B"}]


def test_the_languages_are_told_to_those_who_ask_as_in_files() -> None:
    async def scenario(bench: Bench) -> None:
        model = {"model": "gpt-transcribe"}
        await bench.say(session_update(format=PCM_16, turn_detection=None, transcription=model), speech(1), COMMIT)

    assert run(scenario).events("completed")[0]["languages"] == [{"code": "en"}]


def test_a_session_that_ends_tells_the_last_words() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, speech(2))
        await bench.end()

    bench = run(scenario)
    assert bench.types[-1] == "completed"


def test_a_client_that_is_gone_leaves_nothing_behind() -> None:
    transcriber = ScriptedTranscriber()
    transcriber.before = lambda: asyncio.sleep(100)

    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, *[speech(0.5)] * 3, silence(1), *[speech(0.5)] * 4)
        assert transcriber.running == 2, "the whole of one utterance, and a part of the next"

    run(scenario, transcriber=transcriber)
    assert transcriber.given_up == 3


def test_a_statistic_counts_each_utterance_and_the_time_since_its_speech() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.say(VAD, speech(0.5), silence(1))

    registry = run(scenario).statistics
    (metric,) = registry._text_s.collect()
    values = {sample.name.removeprefix("amanuensis_live_text_seconds"): sample.value for sample in metric.samples}
    assert values["_count"] == 1
    assert 0.4 < values["_sum"] < 0.6, "the silence that ended the turn"
