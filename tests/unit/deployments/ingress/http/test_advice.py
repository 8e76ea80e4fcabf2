"""What of a form is not honoured reaches the client: in a header, in verbose_json, in the last event of a stream."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from deployments.shared.contracts import VoiceOptions
from deployments.shared.headers import WARNINGS_HEADER
from tests.support.http_service import FILE, multilingual_client, post
from tests.support.scripted_stages import ScriptedStages


@pytest.fixture
def stages() -> ScriptedStages:
    return ScriptedStages(2)


@pytest.fixture
def client(tmp_path: Path, stages: ScriptedStages) -> Iterator[TestClient]:
    with multilingual_client(tmp_path, stages) as running:
        yield running


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"colour": "blue"}, "colour is not a parameter, so it changes nothing."),
        (
            {"temprature": "0.3"},
            "temprature is not a parameter (did you mean temperature?), so it changes nothing.",
        ),
        ({"user": "ann"}, "user changes nothing here: clients are told apart by their API keys."),
        (
            {"timestamp_granularities[]": "word"},
            "timestamp_granularities changes nothing in response_format=json; send response_format=verbose_json.",
        ),
        (
            {"stream": "true", "response_format": "vtt"},
            "stream=true changes nothing in response_format=vtt: subtitles come as a whole.",
        ),
        (
            {"include[]": "logprobs", "response_format": "text"},
            "include[]=logprobs changes nothing in response_format=text; send response_format=json, or "
            "response_format=verbose_json with timestamp_granularities[]=word for the probability of each word.",
        ),
        ({"languages": "yue,de"}, "model does not know the language yue; zh was taken for it."),
        ({"language": "zh-yue"}, "model does not know the language yue; zh was taken for it."),
    ],
)
def test_a_warning_says_what_changes_nothing(client: TestClient, fields: dict[str, str], warning: str) -> None:
    answer = post(client, **fields)
    assert answer.status_code == 200
    assert answer.headers[WARNINGS_HEADER] == warning


def test_warnings_are_in_verbose_json_too(client: TestClient) -> None:
    answer = post(client, response_format="verbose_json", colour="blue", word_timestamps="true")
    assert len(answer.json()["warnings"]) == 2
    assert post(client, response_format="verbose_json").json()["warnings"] == []


def test_a_form_as_it_should_be_brings_no_warning(client: TestClient) -> None:
    usual = {"model": "whisper-1", "language": "en-US", "temperature": "", "stream": "false"}
    assert WARNINGS_HEADER not in post(client, **usual).headers


def test_subtitles_that_should_stream_come_as_a_whole(client: TestClient) -> None:
    answer = post(client, stream="true", response_format="vtt")
    assert answer.headers["content-type"].startswith("text/vtt")
    assert answer.text.startswith("WEBVTT")


@pytest.mark.parametrize(("asked", "taken"), [("de-DE", "de"), ("GERMAN", "de"), ("zh-yue", "zh"), ("ger", "de")])
def test_a_language_reaches_the_decoder_as_whispers_code(
    client: TestClient, stages: ScriptedStages, asked: str, taken: str
) -> None:
    assert post(client, language=asked).status_code == 200
    assert set(stages.languages) == {taken}


@pytest.mark.parametrize("asked", ["", "auto", "None", "null"])
def test_no_language_is_detected(client: TestClient, stages: ScriptedStages, asked: str) -> None:
    assert post(client, language=asked).status_code == 200
    assert stages.detected == [0, 1]


def test_a_language_that_the_model_does_not_know_is_rejected(client: TestClient) -> None:
    answer = client.post("/v1/audio/transcriptions", files=FILE, data={"language": "fr-CA"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_language")


@pytest.mark.parametrize(("asked", "among"), [("en,de-AT", ("en", "de")), ("en,de,en,yue", ("en", "de", "zh"))])
def test_several_hints_have_the_language_detected_among_them(
    client: TestClient, stages: ScriptedStages, asked: str, among: tuple[str, ...]
) -> None:
    stages.likeliest = {0: ("en", 0.9)}
    assert post(client, languages=asked).json()["languages"] == [{"code": "en"}, {"code": "de"}]
    assert stages.among == [among, among]
    assert stages.languages == ["en", "de"]
    assert stages.options[0].among == among


def test_one_hint_names_the_language(client: TestClient, stages: ScriptedStages) -> None:
    answer = post(client, languages="German", response_format="verbose_json")
    assert answer.json()["language"] == "german"
    assert (stages.languages, stages.detected) == (["de", "de"], [])


def test_hints_that_the_model_does_not_know_are_left_out_and_named(client: TestClient, stages: ScriptedStages) -> None:
    answer = post(client, languages="en,fr,de")
    assert answer.headers["x-warnings"].endswith("does not know the language fr, so it was not looked for.")
    assert stages.among[0] == ("en", "de")


@pytest.mark.parametrize(("asked", "named"), [("en,klingon", "klingon"), ("fr", "fr"), ("fr,it", "fr")])
def test_a_hint_that_is_no_language_of_the_model_is_rejected(client: TestClient, asked: str, named: str) -> None:
    error = client.post("/v1/audio/transcriptions", files=FILE, data={"languages": asked}).json()["error"]
    assert error["code"] == "unsupported_language"
    assert named in error["message"]


def test_what_counts_as_speech_reaches_the_voice_detection(client: TestClient, stages: ScriptedStages) -> None:
    assert post(client, chunking_strategy='{"type": "server_vad", "threshold": 0.7}').status_code == 200
    assert stages.speech.voice == VoiceOptions(threshold=0.7)
    assert post(client).status_code == 200
    assert stages.speech.voice == VoiceOptions()


def test_no_client_can_ask_for_a_draft(client: TestClient, stages: ScriptedStages) -> None:
    assert post(client, draft="true").status_code == 200
    assert not stages.options[0].draft


def test_temperatures_to_fall_back_to_reach_the_decoder(client: TestClient, stages: ScriptedStages) -> None:
    assert post(client, temperature_inc="0.5").status_code == 200
    assert stages.options[0].fallback_temperatures == (0.5, 1.0)
    assert post(client).status_code == 200
    assert stages.options[0].fallback_temperatures is None
