"""What the page computes without a browser: subtitles, captions, words and times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from deployments.ingress.http.routes import create_app
from deployments.ingress.transcript.joining import join_texts
from deployments.shared.subtitles import as_srt, as_vtt
from tests.support.http_service import FILE, service
from tests.support.page_scripts import Scripts, needs_node
from tests.support.scripted_stages import ScriptedStages

pytestmark = needs_node

TEXTS = ["I see.", "Tom & Jerry <3", "left --> right", "  two\nlines ", "もしもし。", "はい。", ""]


@dataclass(frozen=True)
class Cue:
    """What the service writes subtitles of."""

    start_s: float
    end_s: float
    text: str
    speaker: str | None


CUES = [
    Cue(3599.9996 * number, 3599.9996 * number + 1.2345, text, speaker)
    for number, (text, speaker) in enumerate(zip(TEXTS, [None, "A", "B <1>", "B <1>", "C", "C", None], strict=True))
]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A service that hears five short sentences, by two speakers if it is asked for them."""
    stages = ScriptedStages(windows=5, texts=["One & all.", "Two <b>.", "もしもし。", "はい。", "Five --> six."])
    with TestClient(create_app(service(stages, tmp_path))) as running:
        yield running


def document_of(cues: list[Cue]) -> dict[str, Any]:
    """The cues as ``verbose_json`` has them."""
    segments = [{"start": round(cue.start_s, 3), "end": round(cue.end_s, 3), "text": cue.text} for cue in cues]
    for segment, cue in zip(segments, cues, strict=True):
        if cue.speaker is not None:
            segment["speaker"] = cue.speaker
    return {"text": join_texts(cue.text for cue in cues), "segments": segments}


class TestSubtitles:
    """Those that the page writes are those of the service, to the letter."""

    def test_every_mark_and_every_time(self, scripts: Scripts) -> None:
        srt, vtt = scripts.run("subtitles.js", "[page.asSrt(given), page.asVtt(given)]", document_of(CUES))
        assert srt == as_srt(CUES)
        assert vtt == as_vtt(CUES)

    def test_nobody_speaks(self, scripts: Scripts) -> None:
        written = scripts.run(
            "subtitles.js", "[page.asSrt(given), page.asVtt(given), page.asText(given)]", document_of([])
        )
        assert written == [as_srt([]), as_vtt([]), "\n"]

    @pytest.mark.parametrize("diarize", ["false", "true"])
    def test_the_service_answers_the_same(self, scripts: Scripts, client: TestClient, diarize: str) -> None:
        def ask(response_format: str) -> str:
            fields = {"response_format": response_format, "diarize": diarize, "language": "en"}
            return client.post("/v1/audio/transcriptions", files=FILE, data=fields).text

        document = json.loads(ask("verbose_json"))
        written = scripts.run("subtitles.js", "[page.asText(given), page.asSrt(given), page.asVtt(given)]", document)
        assert written == [ask("text"), ask("srt"), ask("vtt")]
        assert ("A: " in written[0]) == (diarize == "true")

    def test_json_is_all_that_the_service_told(self, scripts: Scripts) -> None:
        document = document_of(CUES)
        assert json.loads(scripts.run("subtitles.js", "page.asJson(given)", document)) == document


class TestEvents:
    """Server-sent events, however they are cut."""

    def test_every_cut_gives_the_same_events(self, scripts: Scripts) -> None:
        stream = ': waiting\n\ndata: {"delta": "data: a"}\n\ndata: {"delta": "ü"}\n\n: waiting\n\ndata: [DONE]\n\n'
        given = [stream[:cut] + "\0" + stream[cut:] for cut in range(len(stream) + 1)]
        read = """given.map((cut) => {
            const reader = new page.EventReader();
            return cut.split("\\0").flatMap((piece) => reader.read(piece));
        })"""
        found = scripts.run("event_stream.js", read, given)
        assert found == [[{"delta": "data: a"}, {"delta": "ü"}]] * len(given)

    def test_an_event_that_is_cut_off_is_none(self, scripts: Scripts) -> None:
        assert scripts.run("event_stream.js", "new page.EventReader().read(given)", 'data: {"delta"') == []


TRANSCRIPTION = "conversation.item.input_audio_transcription."
FOLLOW = """{
    const captions = new page.Captions();
    const changed = given.map((event) => captions.take(event)?.added ?? null);
    const waiting = captions.areWaiting;
    return { changed, waiting, utterances: captions.utterances, saved: page.transcriptionOf(captions.utterances) };
}"""


def started(item: str, milliseconds: int) -> dict[str, Any]:
    return {"type": "input_audio_buffer.speech_started", "item_id": item, "audio_start_ms": milliseconds}


def committed(item: str) -> dict[str, Any]:
    return {"type": "input_audio_buffer.committed", "item_id": item}


def delta(item: str, text: str) -> dict[str, Any]:
    return {"type": f"{TRANSCRIPTION}delta", "item_id": item, "delta": text}


def completed(item: str, text: str, *words: dict[str, Any]) -> dict[str, Any]:
    return {"type": f"{TRANSCRIPTION}completed", "item_id": item, "transcript": text, "words": [*words]}


class TestCaptions:
    """The texts of a live session, as its events tell them."""

    def test_deltas_joined_are_the_text(self, scripts: Scripts) -> None:
        events = [
            started("a", 500),
            delta("a", "Good"),
            delta("a", " day"),
            committed("a"),
            completed("a", "Good day."),
        ]
        found = scripts.run("captions.js", FOLLOW, events)
        assert found["changed"] == ["", "Good", " day", "", "."]
        (utterance,) = found["utterances"]
        assert (utterance["text"], utterance["state"], utterance["start"]) == ("Good day.", "done", 0.5)
        assert not found["waiting"]

    def test_the_whole_text_corrects_what_was_told(self, scripts: Scripts) -> None:
        events = [started("a", 0), delta("a", "Good bay"), committed("a"), completed("a", "Good day.")]
        found = scripts.run("captions.js", FOLLOW, events)
        assert found["changed"][-1] == ""
        assert found["utterances"][0]["text"] == found["saved"]["text"] == "Good day."

    def test_texts_stay_in_the_order_in_which_they_were_said(self, scripts: Scripts) -> None:
        events = [started("a", 0), committed("a"), started("b", 900), committed("b"), completed("b", "Two")]
        found = scripts.run("captions.js", FOLLOW, events)
        assert [each["state"] for each in found["utterances"]] == ["waiting", "done"]
        assert found["waiting"]

    def test_an_utterance_that_failed_says_why(self, scripts: Scripts) -> None:
        error = {"message": "No room", "code": "queue_full"}
        failed = {"type": f"{TRANSCRIPTION}failed", "item_id": "a", "error": error}
        found = scripts.run("captions.js", FOLLOW, [started("a", 0), committed("a"), failed])
        assert found["utterances"][0]["error"] == error
        assert not found["waiting"]
        assert found["saved"]["segments"] == []

    def test_captions_are_saved_with_the_times_of_their_words(self, scripts: Scripts) -> None:
        words = {"word": "Good", "start": 0.6, "end": 0.9}, {"word": "day.", "start": 1.0, "end": 1.3}
        events = [started("a", 500), completed("a", "Good day.", *words), started("b", 2000), completed("b", "")]
        saved = scripts.run("captions.js", FOLLOW, events)["saved"]
        assert saved["segments"] == [{"start": 0.6, "end": 1.3, "text": "Good day."}]
        assert (saved["text"], saved["words"]) == ("Good day.", [*words])

    def test_who_spoke_is_saved_with_what_was_said(self, scripts: Scripts) -> None:
        segments = [
            {"start": 0.6, "end": 0.9, "text": "Good day.", "speaker": "A"},
            {"start": 1.0, "end": 1.3, "text": "Hello.", "speaker": "B"},
        ]
        events = [started("a", 500), {**completed("a", "Good day. Hello."), "segments": segments}]
        saved = scripts.run("captions.js", FOLLOW, events)["saved"]
        assert (saved["text"], saved["segments"]) == ("Good day. Hello.", segments)

    def test_other_events_change_nothing(self, scripts: Scripts) -> None:
        assert scripts.run("captions.js", FOLLOW, [{"type": "session.created"}])["utterances"] == []


class TestWords:
    """Where words stand, and which one is spoken."""

    def place(self, scripts: Scripts, texts: list[str], words: list[str]) -> Any:
        segments = [{"text": text, "start": float(number), "end": number + 1.0} for number, text in enumerate(texts)]
        timed = [{"word": word, "start": 0.1 * number, "end": 9.0} for number, word in enumerate(words)]
        return scripts.run(
            "words.js", "page.placeWords(given.segments, given.words)", {"segments": segments, "words": timed}
        )

    @pytest.mark.parametrize(
        ("texts", "words"),
        [
            (["Oh, so so.", "So it is!"], ["Oh,", "so", "so.", "So", "it", "is!"]),
            (["もしもし。", "はい。"], ["もし", "もし。", "はい。"]),
            (['"Yes" - he said'], ['"Yes"', "he", "said"]),
        ],
    )
    def test_every_word_is_found_and_no_letter_is_lost(
        self, scripts: Scripts, texts: list[str], words: list[str]
    ) -> None:
        placed = self.place(scripts, texts, words)
        assert ["".join(part["text"] for part in parts) for parts in placed] == texts
        found = {part["index"]: part["text"] for parts in placed for part in parts if "index" in part}
        assert [found[index] for index in range(len(words))] == words

    def test_a_text_that_was_not_aligned_has_no_words_and_the_next_one_has(self, scripts: Scripts) -> None:
        placed = self.place(scripts, ["no times here", "but here"], ["but", "here"])
        assert placed == [
            [{"text": "no times here"}],
            [{"text": "but", "index": 0}, {"text": " "}, {"text": "here", "index": 1}],
        ]

    def test_the_word_of_a_moment(self, scripts: Scripts) -> None:
        words = [{"start": start} for start in (0.5, 1.0, 1.0, 2.0)]
        found = scripts.run(
            "words.js", "given.at.map((at) => page.wordAt(given.words, at))", {"words": words, "at": [0, 0.5, 1.5, 9]}
        )
        assert found == [-1, 0, 2, 3]

    def test_how_long_each_speaks(self, scripts: Scripts) -> None:
        segments = [
            {"start": 0, "end": 2, "speaker": "A"},
            {"start": 2, "end": 3, "speaker": "B"},
            {"start": 3, "end": 7, "speaker": "A"},
        ]
        assert scripts.run("words.js", "page.speakingTimes(given, ['A', 'B', 'C'])", segments) == [6, 1, 0]

    def test_moments_as_people_read_them(self, scripts: Scripts) -> None:
        assert scripts.run("clock.js", "given.map(page.clock)", [0, 7.9, 61, 3723]) == [
            "0:00",
            "0:07",
            "1:01",
            "1:02:03",
        ]


class TestErrors:
    """Errors in the service's own words."""

    SHOW = """{
        const header = (name) => given.headers[name] ?? null;
        return page.wordsOf(page.errorOf(given.status, given.body, header));
    }"""

    def show(self, scripts: Scripts, status: int, body: str, **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return str(scripts.run("errors.js", self.SHOW, {"status": status, "body": body, "headers": named}))

    def test_a_refusal_says_when_to_come_back(self, scripts: Scripts) -> None:
        body = json.dumps({"error": {"message": "As many requests wait as may", "code": "queue_full"}})
        shown = self.show(scripts, 503, body, retry_after="3", x_request_id="r-1")
        assert shown == "As many requests wait as may. Try again in 3 s. (queue_full, request r-1)"

    def test_a_rejection_says_what_is_wrong(self, scripts: Scripts) -> None:
        body = json.dumps({"error": {"message": "The file holds no audio.", "code": "invalid_audio"}})
        assert self.show(scripts, 400, body, x_request_id="r-1") == "The file holds no audio. (invalid_audio)"

    def test_a_proxy_s_page_is_no_reason(self, scripts: Scripts) -> None:
        assert self.show(scripts, 502, "<html>") == "The service answered with HTTP 502 and no reason."


class TestStages:
    """What the service does at the moment, out of figures that count from its start."""

    @staticmethod
    def figures(busy_s: float, breaker: str = "closed", replicas: int = 2) -> dict[str, Any]:
        stage = {"workers_active": replicas, "input_queue_size": 3, "busy_time": busy_s, "breaker": breaker}
        return dict.fromkeys(("stage1", "stage2", "stage3"), stage)

    def now(self, scripts: Scripts, before: object, after: object) -> dict[str, Any]:
        found = scripts.run("stages.js", "page.stagesNow(given[0], given[1], 2)", [before, after])
        assert [stage.pop("name") for stage in found] == ["Audio", "Encoder", "Decoder"]
        assert found[0] == found[1] == found[2]
        first: dict[str, Any] = found[0]
        return first

    def test_the_share_is_that_of_the_last_seconds_and_of_one_replica(self, scripts: Scripts) -> None:
        found = self.now(scripts, self.figures(100.0), self.figures(101.0))
        assert found == {"replicas": 2, "calls": 3, "closed": False, "share": 0.25}

    def test_the_first_figures_and_those_after_a_restart_say_nothing(self, scripts: Scripts) -> None:
        assert self.now(scripts, None, self.figures(5.0))["share"] == 0
        assert self.now(scripts, self.figures(100.0), self.figures(0.5, replicas=0))["share"] == 0

    def test_a_stage_that_is_left_alone_says_so(self, scripts: Scripts) -> None:
        assert self.now(scripts, None, self.figures(0.0, "open"))["closed"]
