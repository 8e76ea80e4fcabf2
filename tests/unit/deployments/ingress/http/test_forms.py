"""Every known parameter is honoured or refused with 400, and the answer names it."""

import io

import pytest
from starlette.datastructures import FormData, Headers, UploadFile

from deployments.ingress.form import MAX_HOTWORDS, TranscriptionForm
from deployments.ingress.http.forms import REJECTED, parse_form, priority_of, timeout_of
from deployments.ingress.request import Priority
from deployments.shared.errors import InvalidRequestError, UnsupportedParameterError

AUDIO = UploadFile(io.BytesIO(b"audio"), filename="a.wav")


def parse(*fields: tuple[str, str]) -> TranscriptionForm:
    form, upload = parse_form(FormData([("file", AUDIO), *fields]))
    assert upload is AUDIO
    return form


def test_nothing_but_a_file_is_enough() -> None:
    form = parse()
    assert form.response_format == "json"
    assert form.temperature == 0
    assert form.vad_filter
    assert not form.stream


@pytest.mark.parametrize("name", ["timestamp_granularities", "timestamp_granularities[]"])
def test_granularities_with_and_without_brackets(name: str) -> None:
    form = parse((name, "word"), (name, "segment"), ("response_format", "verbose_json"))
    assert form.granularities == {"word", "segment"}


def test_words_alone_give_no_segments() -> None:
    assert parse(("timestamp_granularities[]", "word"), ("response_format", "verbose_json")).granularities == {"word"}


def test_segments_are_the_default() -> None:
    assert parse(("response_format", "verbose_json")).granularities == {"segment"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([("temperature", "warm")], "temperature"),
        ([("temperature", "1.5")], "temperature"),
        ([("temperature", "-0.1")], "temperature"),
        ([("temperature", "nan")], "temperature"),
        ([("response_format", "xml")], "response_format"),
        ([("response_format", "diarized_json")], "response_format"),
        ([("stream", "perhaps")], "stream"),
        ([("beam_size", "0")], "beam_size"),
        ([("beam_size", "100")], "beam_size"),
        ([("priority", "urgent")], "priority"),
        ([("chunking_strategy", "server_vad")], "chunking_strategy"),
        ([("diarize", "true")], "diarize"),
        ([("enable_diarization", "1")], "enable_diarization"),
        ([("language", "en"), ("language", "de")], "language"),
        ([("colour", "blue")], "colour"),
        ([("timestamp_granularities[]", "letter"), ("response_format", "verbose_json")], "timestamp_granularities"),
    ],
)
def test_a_bad_value_is_refused_and_named(fields: list[tuple[str, str]], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse(*fields)
    assert refused.value.status == 400
    assert refused.value.param == param
    assert param in refused.value.message


@pytest.mark.parametrize(
    "fields",
    [
        [("timestamp_granularities[]", "word")],
        [("timestamp_granularities[]", "word"), ("response_format", "json")],
        [("stream", "true"), ("response_format", "srt")],
        [("beam_size", "5"), ("temperature", "0.5")],
        [("chunking_strategy", "auto"), ("vad_filter", "false")],
    ],
)
def test_contradictions_are_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequestError, match=r"needs|contradicts"):
        parse(*fields)


def test_hotwords_come_as_openai_and_as_faster_whisper_send_them() -> None:
    assert parse().all_hotwords is None
    assert parse(("hotwords", " ")).all_hotwords is None
    assert parse(("hotwords", "Ecobee, Ray")).all_hotwords == "Ecobee, Ray"
    assert parse(("keywords[]", "Ecobee"), ("keywords[]", "Ray")).all_hotwords == "Ecobee, Ray"
    assert parse(("keywords", "Ecobee"), ("hotwords", "Ray")).all_hotwords == "Ecobee, Ray"


@pytest.mark.parametrize(
    "fields",
    [
        [("hotwords", "x" * (MAX_HOTWORDS + 1))],
        [("keywords[]", "x" * 300)],
        [("keywords[]", "word")] * MAX_HOTWORDS,
    ],
)
def test_hotwords_are_bounded(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequestError, match=r"keywords|hotwords"):
        parse(*fields)


@pytest.mark.parametrize("name", [*REJECTED, "include[]", "known_speaker_names[]"])
def test_what_cannot_be_honoured_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UnsupportedParameterError, match="not supported"):
        parse((name, "x"))


def test_saying_no_to_speakers_is_fine() -> None:
    assert parse(("diarize", "false"), ("enable_diarization", "False")).diarize is False


def test_a_form_needs_exactly_one_real_file() -> None:
    with pytest.raises(InvalidRequestError, match="no file"):
        parse_form(FormData([("model", "whisper-1")]))
    with pytest.raises(InvalidRequestError, match="two files"):
        parse_form(FormData([("file", AUDIO), ("file", AUDIO)]))
    with pytest.raises(InvalidRequestError, match="plain field"):
        parse_form(FormData([("file", "not a file")]))
    with pytest.raises(InvalidRequestError, match="not a file"):
        parse_form(FormData([("file", AUDIO), ("prompt", AUDIO)]))


def test_priority_from_the_form_else_the_header_else_normal() -> None:
    assert priority_of(parse(("priority", "high")), Headers({"x-priority": "low"})) is Priority.HIGH
    assert priority_of(parse(), Headers({"x-priority": "Low"})) is Priority.LOW
    assert priority_of(parse(), Headers()) is Priority.NORMAL
    with pytest.raises(InvalidRequestError, match="x-priority"):
        priority_of(parse(), Headers({"x-priority": "urgent"}))
    with pytest.raises(InvalidRequestError, match="x-priority"):
        priority_of(parse(("priority", "high")), Headers({"x-priority": "urgent"}))


def test_a_client_may_name_any_timeout_up_to_the_longest_one() -> None:
    assert timeout_of(Headers(), 7200) is None
    assert timeout_of(Headers({"x-timeout-seconds": "2.5"}), 7200) == 2.5
    assert timeout_of(Headers({"x-timeout-seconds": "7200"}), 7200) == 7200
    with pytest.raises(InvalidRequestError, match="max_request_timeout_s") as rejected:
        timeout_of(Headers({"x-timeout-seconds": "7200.5"}), 7200)
    assert rejected.value.param == "x-timeout-seconds"


@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", "inf"])
def test_a_senseless_deadline_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequestError, match="x-timeout-seconds"):
        timeout_of(Headers({"x-timeout-seconds": value}), 60)
