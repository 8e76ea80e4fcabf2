"""Every known parameter is honoured or refused with 400, and the answer names it."""

import io

import pytest
from starlette.datastructures import FormData, Headers, UploadFile

from deployments.ingress.form import MAX_HOTWORDS, TranscriptionForm
from deployments.ingress.http.forms import parse_form, priority_of, timeout_of
from deployments.ingress.request import Priority
from deployments.ingress.voice_references import data_of
from deployments.shared.contracts import VoiceOptions
from deployments.shared.errors import InvalidRequestError

VOICE = "data:audio/wav;base64,dm9pY2U="
AUDIO = UploadFile(io.BytesIO(b"audio"), filename="a.wav")


def parse(*fields: tuple[str, str]) -> TranscriptionForm:
    received = parse_form(FormData([("file", AUDIO), *fields]))
    assert received.upload is AUDIO
    assert received.unknown == ()
    return received.form


def test_nothing_but_a_file_is_enough() -> None:
    form = parse()
    assert form.response_format == "json"
    assert form.temperature == 0
    assert form.vad_filter
    assert not form.stream


GRANULARITIES = "timestamp_granularities"


@pytest.mark.parametrize(
    "fields",
    [
        [(GRANULARITIES, "word"), (GRANULARITIES, "segment")],
        [(f"{GRANULARITIES}[]", "word"), (f"{GRANULARITIES}[]", "segment")],
        [(f"{GRANULARITIES}[0]", "word"), (f"{GRANULARITIES}[1]", "segment")],
        [(GRANULARITIES, '["word", "segment"]')],
        [(f"{GRANULARITIES}[]", '["word"]'), (GRANULARITIES, "segment")],
        [(GRANULARITIES, "word,segment")],
        [(GRANULARITIES, " word , segment ")],
    ],
)
def test_granularities_in_every_spelling(fields: list[tuple[str, str]]) -> None:
    assert parse(*fields, ("response_format", "verbose_json")).granularities == {"word", "segment"}


SERVER_VAD = '{"type":"server_vad","threshold":0.6,"prefix_padding_ms":300,"silence_duration_ms":200}'
MEMBERS = {"type": "server_vad", "threshold": "0.6", "prefix_padding_ms": "300", "silence_duration_ms": "200"}


@pytest.mark.parametrize(
    "fields", [[("chunking_strategy", SERVER_VAD)], [(f"chunking_strategy[{k}]", v) for k, v in MEMBERS.items()]]
)
def test_what_counts_as_speech_comes_as_json_and_as_openais_client_sends_it(fields: list[tuple[str, str]]) -> None:
    strategy = parse(*fields).chunking_strategy
    assert strategy is not None
    assert strategy.voice == VoiceOptions(threshold=0.6, silence_s=0.2, padding_s=0.3)


@pytest.mark.parametrize("value", ["auto", '{"type": "auto"}', "server_vad", '{"type": "server_vad"}'])
def test_a_type_alone_leaves_the_voice_detection_as_it_is(value: str) -> None:
    strategy = parse(("chunking_strategy", value)).chunking_strategy
    assert strategy is not None
    assert strategy.voice == VoiceOptions()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([("chunking_strategy", "semantic_vad")], "chunking_strategy.type"),
        ([("chunking_strategy", '{"threshold": 0.5}')], "chunking_strategy.type"),
        ([("chunking_strategy", '{"type": "server_vad", "threshold": 1.5}')], "chunking_strategy.threshold"),
        ([("chunking_strategy", '{"type": "server_vad", "threshold": NaN}')], "chunking_strategy.threshold"),
        ([("chunking_strategy", '{"type": "server_vad", "size": 1}')], "chunking_strategy.size"),
        ([("chunking_strategy", '{"type": "server_vad"')], "chunking_strategy.type"),
        (
            [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[prefix_padding_ms]", "9000")],
            "chunking_strategy.prefix_padding_ms",
        ),
        ([("chunking_strategy[type]", "auto"), ("chunking_strategy[type]", "auto")], "chunking_strategy[type]"),
        ([("chunking_strategy", "auto"), ("chunking_strategy[type]", "auto")], "chunking_strategy"),
    ],
)
def test_a_bad_strategy_is_rejected_by_the_name_of_its_member(fields: list[tuple[str, str]], named: str) -> None:
    with pytest.raises(InvalidRequestError) as rejected:
        parse(*fields)
    assert rejected.value.param == "chunking_strategy"
    assert named in rejected.value.message


@pytest.mark.parametrize("name", ["include", "include[]", "include[0]"])
def test_log_probabilities_are_those_of_plain_json(name: str) -> None:
    assert parse((name, "logprobs")).wants_logprobs
    assert not parse((name, "logprobs"), ("response_format", "verbose_json")).wants_logprobs
    assert not parse().wants_logprobs


@pytest.mark.parametrize(
    "fields",
    [
        [("languages[]", "en"), ("languages[]", "de")],
        [("languages", '["en", "de"]')],
        [("languages", "en,de")],
        [("languages[0]", "en"), ("languages[1]", "de")],
    ],
)
def test_hints_of_languages_in_every_spelling(fields: list[tuple[str, str]]) -> None:
    assert parse(*fields).languages == ("en", "de")


@pytest.mark.parametrize("gap", ["", " ", "None", "null", "NULL", "undefined"])
@pytest.mark.parametrize("name", [*TranscriptionForm.model_fields, "timestamp_granularities[]"])
def test_a_field_without_a_value_counts_as_absent(name: str, gap: str) -> None:
    assert parse((name, gap)) == parse()


def test_a_field_without_a_value_is_not_given_twice() -> None:
    assert parse(("language", ""), ("language", "en")).language == "en"


@pytest.mark.parametrize("name", ["auto", "Auto", " AUTO "])
def test_auto_detects_the_language(name: str) -> None:
    assert parse(("language", name)).language is None


@pytest.mark.parametrize(
    ("step", "temperature", "expected"),
    [
        (None, "0", None),
        ("0", "0", ()),
        ("0.2", "0", (0.2, 0.4, 0.6, 0.8, 1.0)),
        ("0.3", "0", (0.3, 0.6, 0.9)),
        ("0.4", "0.5", (0.9,)),
        ("1", "0", (1.0,)),
        ("0.2", "1", ()),
    ],
)
def test_the_step_of_whisper_cpp_leads_through_temperatures(
    step: str | None, temperature: str, expected: tuple[float, ...] | None
) -> None:
    fields = [("temperature", temperature), *([("temperature_inc", step)] if step else [])]
    assert parse(*fields).fallback_temperatures == expected


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
        ([("stream", "perhaps")], "stream"),
        ([("beam_size", "0")], "beam_size"),
        ([("beam_size", "100")], "beam_size"),
        ([("priority", "urgent")], "priority"),
        ([("diarize", "perhaps")], "diarize"),
        ([("min_speakers", "0")], "min_speakers"),
        ([("max_speakers", "101")], "max_speakers"),
        ([("language", "en"), ("language", "de")], "language"),
        ([("include[]", "words")], "include"),
        ([("temperature_inc", "0.1")], "temperature_inc"),
        ([("temperature_inc", "-1")], "temperature_inc"),
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
    ("fields", "words"),
    [
        ([("diarize", "1"), ("channels", "separate")], "contradicts channels=separate"),
        ([("min_speakers", "3"), ("max_speakers", "2")], "min_speakers must not exceed"),
        ([("known_speaker_names[]", "ann")], "one recording for each"),
        ([("known_speaker_references[]", VOICE)], "one recording for each"),
        ([("known_speaker_references[]", "ann.wav")], "data URL"),
        ([("known_speaker_references[]", "data:audio/wav;base64,###")], "base64"),
        ([("known_speaker_references[]", "data:audio/wav;base64,")], "empty"),
        ([*[("known_speaker_names[]", "ann"), ("known_speaker_references[]", VOICE)] * 2], "name twice"),
    ],
)
def test_what_is_wrong_with_speakers_is_told(fields: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        parse(*fields)


@pytest.mark.parametrize(
    "fields",
    [
        [("beam_size", "5"), ("temperature", "0.5")],
        [("chunking_strategy", "auto"), ("vad_filter", "false")],
        [("language", "en"), ("languages[]", "de")],
    ],
)
def test_contradictions_are_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequestError, match=r"needs|contradicts"):
        parse(*fields)


def test_what_means_nothing_here_is_named_once() -> None:
    fields = [("colour", "blue"), ("colour", "red"), ("user", "ann"), ("size[]", "")]
    assert parse_form(FormData([("file", AUDIO), *fields])).unknown == ("colour", "user", "size")


@pytest.mark.parametrize("response_format", ["srt", "vtt"])
def test_subtitles_do_not_stream(response_format: str) -> None:
    assert not parse(("stream", "true"), ("response_format", response_format)).streams
    assert parse(("stream", "true"), ("response_format", "text")).streams


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


@pytest.mark.parametrize(
    ("fields", "needs_diarizer", "names_speakers"),
    [
        ([], False, False),
        ([("diarize", "false"), ("enable_diarization", "False")], False, False),
        ([("diarize", "true")], True, True),
        ([("enable_diarization", "on")], True, True),
        ([("response_format", "diarized_json")], True, True),
        ([("channels", "separate")], False, True),
        ([("response_format", "diarized_json"), ("channels", "separate")], False, True),
    ],
)
def test_speakers_are_told_apart_by_their_voices_or_by_their_channels(
    fields: list[tuple[str, str]], needs_diarizer: bool, names_speakers: bool
) -> None:
    form = parse(*fields)
    assert (form.needs_diarizer, form.names_speakers) == (needs_diarizer, names_speakers)
    assert form.needs_word_times == names_speakers


def test_a_known_voice_is_a_data_url_or_a_file() -> None:
    file = UploadFile(io.BytesIO(b"voice"), filename="ann.wav", headers=Headers({"content-type": "audio/wav"}))
    fields = [("known_speaker_names[]", "ann"), ("known_speaker_names[]", "bob")]
    voices: list[tuple[str, str | UploadFile]] = [
        ("known_speaker_references[]", VOICE),
        ("known_speaker_references[]", file),
    ]
    items: list[tuple[str, str | UploadFile]] = [("file", AUDIO), *fields, *voices]
    form = parse_form(FormData(items)).form
    assert [data_of(reference) for reference in form.known_speaker_references] == [b"voice", b"voice"]
    assert form.known_speaker_names == ("ann", "bob")


def test_other_encodings_of_a_data_url() -> None:
    assert data_of("data:audio/wav,%00%01") == b"\0\1"
    assert data_of("data:;base64,dm9pY2U%3D") == b"voice"


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
