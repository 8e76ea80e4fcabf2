"""The arithmetic of the benchmark of live speakers, and a speaker who is heard by a service over scripted stages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deployments.ingress.http.routes import create_app
from loadtests.benchmarks.live import FileText, delays_of, row_of, share_before_end, streams_of, transcribe_files
from loadtests.benchmarks.parts import live_peer, live_speaker
from loadtests.benchmarks.parts.live_delays import Said, Told, delays, said_words, told_words
from loadtests.benchmarks.parts.live_speaker import SILENCE_S, Spoken, Stream, speak
from loadtests.common.clips import Clip
from loadtests.common.wav import RATE, seconds_of, wav_of
from tests.support.http_service import service
from tests.support.listening import listening
from tests.support.live import LoudVoice, speech
from tests.support.scripted_stages import ScriptedStages

ONE, TWO = (Clip(name, wav_of(speech(seconds)), seconds, name) for name, seconds in (("red cat", 1.0), ("dog", 2.0)))
TEXTS = {"red cat": FileText("Red cat.", (("Red", 0.4), ("cat.", 0.9))), "dog": FileText("Dog.", (("Dog.", 1.5),))}


def event(kind: str, item: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"conversation.item.input_audio_transcription.{kind}", "item_id": item, **fields}


def started(item: str) -> dict[str, Any]:
    return {"type": "input_audio_buffer.speech_started", "item_id": item}


def committed(item: str) -> dict[str, Any]:
    return {"type": "input_audio_buffer.committed", "item_id": item}


def test_a_delay_is_from_the_end_of_a_word_to_its_text() -> None:
    said = [Said("red", 1.0), Said("cat", 2.0), Said("ran", 3.0)]
    told = [Told("red", 1.5), Told("cat", 3.25), Told("ran", 3.25)]
    assert delays(said, told) == [0.5, 1.25, 0.25]


def test_a_word_that_was_heard_wrongly_counts_for_nothing_and_those_around_it_do() -> None:
    said = [Said("red", 1.0), Said("cat", 2.0), Said("ran", 3.0)]
    assert delays(said, [Told("red", 2.0), Told("cut", 3.0), Told("off", 3.5), Told("ran", 4.0)]) == [1.0, 1.0]
    assert delays(said, []) == []


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert told_words([("Red", 1.0), (", cat.", 2.0), (" ", 3.0)]) == [Told("red", 1.0), Told("cat", 2.0)]
    assert list(said_words([("Well,", 0.5), ("-", 0.6)], 10.0)) == [Said("well", 10.5)]


def test_a_stream_is_whole_clips_with_silence_behind_each() -> None:
    stream = Stream.of([ONE, TWO], 1, seconds=4.0)
    assert stream.clips == (TWO, ONE)
    assert stream.starts_s == (0.0, 2.0 + SILENCE_S)
    assert seconds_of(stream.pcm) == 3.0 + 2 * SILENCE_S


def test_each_speaker_of_each_round_says_something_else() -> None:
    clips = [Clip(str(number), ONE.wav, 1.0, "red cat") for number in range(42)]
    said = [[clip.name for clip in stream.clips] for round_ in (0, 1) for stream in streams_of(clips, 3, round_, 9.0)]
    assert [names[0] for names in said] == ["0", "14", "28", "7", "21", "35"]
    assert len({name for names in said for name in names}) == sum(map(len, said))


def test_what_is_told_is_put_in_the_order_in_which_it_was_said() -> None:
    spoken = Spoken()
    for at_s, each in enumerate(
        [
            started("a"),
            event("delta", "a", delta="Red"),
            committed("a"),
            started("b"),
            event("completed", "b", transcript="Dog."),
            event("delta", "a", delta=" cat."),
        ]
    ):
        spoken.take(each, float(at_s))
    assert spoken.is_complete is False
    spoken.take(event("completed", "a", transcript="Red cat."), 9.0)
    assert spoken.text == "Red cat. Dog."
    assert spoken.deltas == [("Red", 1.0), (" cat.", 5.0)]
    assert share_before_end(spoken) == 0.5


def test_what_fails_is_told_by_its_code() -> None:
    spoken = Spoken()
    spoken.take(started("a"), 0.0)
    spoken.take(event("failed", "a", error={"code": "overloaded"}), 1.0)
    spoken.take({"type": "error", "error": {"code": "draining"}}, 2.0)
    assert (spoken.errors, spoken.is_complete, spoken.text) == (["overloaded", "draining"], True, "")


def test_a_row_has_the_delays_of_all_speakers_and_the_errors_of_their_texts() -> None:
    stream = Stream.of([ONE, TWO], 0, seconds=3.0)
    spoken = Spoken()
    for at_s, each in (
        (0.0, started("a")),
        (1.0, event("delta", "a", delta="Red cat.")),
        (1.1, event("completed", "a", transcript="Red cat.")),
        (3.0, started("b")),
        (5.0, event("delta", "b", delta="Fog.")),
        (5.1, event("completed", "b", transcript="Fog.")),
    ):
        spoken.take(each, at_s)
    assert delays_of(stream, spoken, TEXTS) == pytest.approx([0.6, 0.1])
    row = row_of("ours", [stream] * 2, [spoken] * 2, TEXTS, "0.5").strip().strip("|").split("|")
    columns = ["ours", "2", "4 of 6", "0.35", "0.60", "0.60", "-", "33.3%", "33.3%", "0.0%", "0", "0.5"]
    assert [column.strip() for column in row] == columns
    spoken.take(committed("a"), 1.05)
    assert "| 100% |" in row_of("ours", [stream], [spoken], TEXTS, "0.5")


def test_nobody_who_was_heard_makes_a_row_too() -> None:
    stream = Stream.of([ONE], 0, seconds=1.0)
    lost = Spoken(errors=["no text in time"])
    assert "1 no text in time" in row_of("ours", [stream], [lost], TEXTS, "-")


def test_a_speaker_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_speaker, "PIECE_S", 0.02)  # five times as fast as it would be spoken
    monkeypatch.setattr(live_speaker, "PIECE", 2 * RATE // 10)
    asked = service(ScriptedStages(texts=["Hello world."]), tmp_path)
    asked.live.voice = LoudVoice()

    async def talk(url: str) -> Spoken:
        async with aiohttp.ClientSession() as session:
            return await speak(session, url, Stream.of([TWO], 0, seconds=3.0))

    with listening(create_app(asked), sockets=True) as url:
        spoken = asyncio.run(talk(url))
        texts = asyncio.run(transcribe_files(url, [ONE]))
    assert spoken.text == "Hello world."
    assert "".join(text for text, _ in spoken.deltas) == "Hello world."
    assert not spoken.errors
    assert texts["red cat"].text == "Hello world."


def test_of_a_peer_counts_what_it_has_committed_itself_to() -> None:
    spoken, before = Spoken(), ""
    for at_s, lines in ((1.0, ["Red"]), (2.0, ["Red cat", " and"]), (3.0, ["Red cat.", " Dog."])):
        text = live_peer.committed({"lines": [{"text": line} for line in lines], "buffer_transcription": "no"})
        for told in live_peer.events_of(before, text):
            spoken.take(told, at_s)
        before = text
    assert live_peer.committed({"type": "config"}) == ""
    assert spoken.deltas == [("Red", 1.0), (" cat and", 2.0), (". Dog.", 3.0)]
    assert spoken.text == "Red cat. Dog."


def test_a_peer_that_does_not_start_is_told(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(RuntimeError, match="did not come up"), live_peer.whisperlivekit(program, tmp_path):
        pass
