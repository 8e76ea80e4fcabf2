"""The JSON formats, to the letter, and the order of cues."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.form import ResponseFormat, TranscriptionForm
from deployments.ingress.http.formats import as_json, as_verbose_json, usage
from deployments.ingress.http.responses import transcription_response
from deployments.ingress.scheduling.pipeline import WindowDone
from deployments.ingress.transcript.placing import place_words
from deployments.ingress.transcript.segments import split_segments
from deployments.ingress.transcription import Transcription
from deployments.shared.contracts import TokenLogprob, Transcript, Window, Word
from deployments.shared.headers import WARNINGS_HEADER
from deployments.shared.subtitles import as_srt

WORDS = (Word(" Good", 0.5, 0.7, 0.9), Word(" day.", 0.7, 1.25, 0.9), Word(" Sit.", 3661.5, 3662.0, 0.8))
TRANSCRIPT = Transcript("Good day. Sit.", (5, 6, 7), "en", 1.0, -0.2, 0.01, 0.9, 0.0, WORDS)
DONE = WindowDone(Window(0, 0.0, 3663.0), TRANSCRIPT, "cpu:test")
TRANSCRIPTION = Transcription(
    "transcribe", 3663.2, "en", [DONE], split_segments([(DONE.window, TRANSCRIPT)]), "cpu:test"
)


def showing(*granularities: str) -> TranscriptionForm:
    return TranscriptionForm.model_validate({"timestamp_granularities": granularities})


PLAIN = TranscriptionForm.model_validate({})
SILENCE = Transcription("transcribe", 2.0, "en", [], [], None)


def test_json() -> None:
    assert as_json(TRANSCRIPTION, PLAIN) == {"text": "Good day. Sit.", "usage": {"type": "duration", "seconds": 3664}}
    assert as_json(SILENCE, PLAIN)["text"] == ""


@pytest.mark.parametrize("fields", [{"languages": ("en", "de")}, {"model": "gpt-transcribe"}])
def test_json_names_the_languages_to_those_who_know_that_it_may(fields: dict[str, object]) -> None:
    form = TranscriptionForm.model_validate(fields)
    bilingual = replace(TRANSCRIPTION, languages=("en", "de"))
    assert as_json(bilingual, form)["languages"] == [{"code": "en"}, {"code": "de"}]
    assert as_json(SILENCE, form)["languages"] == []
    assert "languages" not in as_json(bilingual, PLAIN)
    assert as_verbose_json(bilingual, PLAIN)["languages"] == [{"code": "en"}, {"code": "de"}]


def test_json_has_the_log_probability_of_each_token_where_it_is_asked_for() -> None:
    tokens = (TokenLogprob(" Größe", -0.25), TokenLogprob(".", -1.5))
    done = replace(DONE, transcript=replace(TRANSCRIPT, logprobs=tokens))
    form = TranscriptionForm.model_validate({"include": ("logprobs",)})
    assert as_json(replace(TRANSCRIPTION, windows=[done]), form)["logprobs"] == [
        {"token": " Größe", "bytes": list(" Größe".encode()), "logprob": -0.25},
        {"token": ".", "bytes": [46], "logprob": -1.5},
    ]
    assert "logprobs" not in as_json(TRANSCRIPTION, PLAIN)


def test_verbose_json_shows_what_was_asked_for() -> None:
    words_only = as_verbose_json(TRANSCRIPTION, showing("word"))
    assert words_only["segments"] == [], "TypeScript clients iterate over it"
    assert words_only["words"][0] == {"word": "Good", "start": 0.5, "end": 0.7, "probability": 0.9}
    segments_only = as_verbose_json(TRANSCRIPTION, showing("segment"))
    assert "words" not in segments_only
    assert [segment["text"] for segment in segments_only["segments"]] == ["Good day.", "Sit."]
    assert segments_only["language"] == "english"
    assert segments_only["device"] == "cpu:test"


def test_windows_in_scripts_without_spaces_are_joined_without_one() -> None:
    windows = [
        WindowDone(Window(i, i, i + 1), replace(TRANSCRIPT, text=text), "cpu")
        for i, text in enumerate(["今日は", "", "散歩"])
    ]
    assert as_json(replace(TRANSCRIPTION, windows=windows), PLAIN)["text"] == "今日は散歩"


FORMATS = ("json", "text", "srt", "vtt", "verbose_json")


@pytest.mark.parametrize("response_format", FORMATS)
def test_warnings_are_told_in_a_header_of_ascii_and_in_verbose_json(response_format: ResponseFormat) -> None:
    warned = replace(TRANSCRIPTION, warnings=["There is no sound from 3 to 5 s.", "'größe\x08' is not known\nhere."])
    response = transcription_response(warned, TranscriptionForm.model_validate({"response_format": response_format}))
    expected = r"There is no sound from 3 to 5 s. 'gr\xf6\xdfe ' is not known here."
    assert response.headers[WARNINGS_HEADER] == expected
    if response_format == "verbose_json":
        assert json.loads(bytes(response.body))["warnings"] == warned.warnings
    well = transcription_response(TRANSCRIPTION, TranscriptionForm.model_validate({"response_format": response_format}))
    assert WARNINGS_HEADER not in well.headers


def spoken(channel: int, start_s: float, text: str) -> WindowDone:
    words = tuple(Word(f" {word}", start_s + i, start_s + i + 0.5, 0.9) for i, word in enumerate(text.split()))
    window = Window(channel, start_s, start_s + 25, channel=channel, first_sample=0)
    return WindowDone(window, replace(TRANSCRIPT, text=text, words=words), "cpu:test")


def test_what_is_said_on_separate_channels_is_in_order_and_names_who_says_it() -> None:
    windows = [spoken(2, 0.0, "Hello. Fine."), spoken(1, 0.5, "Hi. How are you?")]
    segments = split_segments([(done.window, done.transcript) for done in windows])
    call = Transcription("transcribe", 30.0, "en", windows, segments, "cpu:test")
    verbose = as_verbose_json(call, showing("word", "segment"))
    said = [(segment["id"], segment["speaker"], segment["text"]) for segment in verbose["segments"]]
    assert said == [(0, "2", "Hello."), (1, "1", "Hi."), (2, "2", "Fine."), (3, "1", "How are you?")]
    assert verbose["text"] == "Hello. Hi. Fine. How are you?"
    assert [(word["speaker"], word["word"]) for word in verbose["words"]][:3] == [
        ("2", "Hello."),
        ("1", "Hi."),
        ("2", "Fine."),
    ]
    assert "speaker" not in as_verbose_json(TRANSCRIPTION, showing("segment"))["segments"][0]


CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d)[,.](\d\d\d)")


@given(
    times=st.lists(st.tuples(st.floats(-1, 32), st.floats(-1, 32)), min_size=1, max_size=40),
    seam_s=st.floats(0.2, 29.0),
    duration_s=st.floats(30.0, 31.0),
)
def test_cues_are_in_order_inside_the_audio_and_never_of_no_length(
    times: list[tuple[float, float]], seam_s: float, duration_s: float
) -> None:
    words = [Word(f"Word{i}.", *span, 0.9) for i, span in enumerate(times)]
    texts = " ".join(word.text for word in words)
    windows = [
        (window, replace(TRANSCRIPT, text=texts, words=place_words(words, window.start_s, window.end_s)))
        for window in (Window(0, 0.0, seam_s), Window(1, seam_s, duration_s))
    ]
    segments = split_segments(windows)
    assert all(
        segment.start_s <= word.start_s and word.end_s <= segment.end_s
        for segment in segments
        for word in segment.words
    )
    clocks = [tuple(map(int, clock)) for clock in CLOCK.findall(as_srt(segments))]
    milliseconds = [1000 * (3600 * h + 60 * m + s) + ms for h, m, s, ms in clocks]
    starts, ends = milliseconds[::2], milliseconds[1::2]
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert starts[0] >= 0
    assert ends[-1] <= round(1000 * round(duration_s, 3))


def test_usage_counts_whole_seconds_rounded_up() -> None:
    assert [usage(seconds)["seconds"] for seconds in (0.0, 0.2, 1.0, 1.01)] == [0, 1, 1, 2]
