"""Every parameter of OpenAI's own client is honoured or refused as documented; a new one fails here until it is."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import openai
import pytest
from openai.resources.audio.transcriptions import Transcriptions
from openai.resources.audio.translations import Translations
from starlette.testclient import TestClient

from deployments.ingress.http.routes import create_app
from deployments.shared.contracts import DecodeOptions, VoiceOptions
from tests.support.http_service import service
from tests.support.pages import DOCS
from tests.support.scripted_stages import ScriptedStages
from tests.support.tiny_whisper import make_multilingual_model

TRANSPORT = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
"""Parameters that say how to send, not what."""

FILE = ("a.wav", b"never decoded here")


class Bench(NamedTuple):
    client: openai.OpenAI
    stages: ScriptedStages

    @property
    def options(self) -> DecodeOptions:
        return self.stages.options[0]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    model = make_multilingual_model(tmp_path / "model")
    (tmp_path / "shm").mkdir()
    stages = ScriptedStages(2)
    with TestClient(create_app(service(stages, tmp_path / "shm", model))) as http:
        yield Bench(
            openai.OpenAI(base_url="http://testserver/v1", api_key="x", http_client=http, max_retries=0), stages
        )


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Honoured(NamedTuple):
    """A value of a parameter, what must come with it, and how it shows that it was honoured."""

    value: Any
    shows: Callable[[Bench, Any], object]
    beside: Mapping[str, Any] = NOTHING


SERVER_VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
VERBOSE = {"response_format": "verbose_json"}

HONOURED: dict[str, list[Honoured]] = {
    "file": [
        Honoured(FILE, lambda _, answer: answer.text == "0 1"),
        Honoured(b"nameless", lambda _, answer: answer.text == "0 1"),
    ],
    "model": [
        Honoured(name, lambda _, answer: answer.text == "0 1")
        for name in ("whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe-2025-12-15")
    ],
    "language": [
        Honoured("fr", lambda bench, _: bench.options.language == "fr"),
        Honoured("fr-CA", lambda bench, _: bench.options.language == "fr"),
    ],
    "languages": [
        Honoured(["fr"], lambda bench, _: bench.options.language == "fr"),
        Honoured(["en", "de"], lambda bench, _: bench.options.among == ("en", "de")),
        Honoured(["en", "de"], lambda _, answer: [each.code for each in answer.languages] == ["de"]),
    ],
    "prompt": [Honoured("Ecobee", lambda bench, _: bench.options.prompt == "Ecobee")],
    "keywords": [Honoured(["Ecobee", "Ray"], lambda bench, _: bench.options.hotwords == "Ecobee, Ray")],
    "temperature": [Honoured(0.5, lambda bench, _: bench.options.temperature == 0.5)],
    "response_format": [
        Honoured("json", lambda _, answer: answer.text == "0 1"),
        Honoured("text", lambda _, answer: answer == "0 1\n"),
        Honoured("srt", lambda _, answer: answer.startswith("1\n00:00:00,000 --> ")),
        Honoured("vtt", lambda _, answer: answer.startswith("WEBVTT\n")),
        Honoured("verbose_json", lambda _, answer: answer.segments is not None and answer.duration == 2),
    ],
    "timestamp_granularities": [
        Honoured(["word"], lambda _, answer: answer.words == [] and answer.segments == [], VERBOSE),
        Honoured(["segment"], lambda _, answer: answer.words is None, VERBOSE),
        Honoured(["word"], lambda _, answer: answer.text == "0 1"),
    ],
    "include": [Honoured(["logprobs"], lambda _, answer: [each.logprob for each in answer.logprobs] == [-0.5, -0.5])],
    "chunking_strategy": [
        Honoured("auto", lambda bench, _: bench.stages.speech.voice == VoiceOptions()),
        Honoured(SERVER_VAD, lambda bench, _: bench.stages.speech.voice == VoiceOptions(0.5, 0.2, 0.3)),
        Honoured(None, lambda bench, _: bench.stages.speech.voice == VoiceOptions()),
    ],
    "stream": [
        Honoured(True, lambda _, answer: [event.type for event in answer][-1] == "transcript.text.done"),
        Honoured(True, lambda _, answer: len([*answer][-1].logprobs) == 2, {"include": ["logprobs"]}),
        Honoured(False, lambda _, answer: answer.text == "0 1"),
        Honoured(None, lambda _, answer: answer.text == "0 1"),
    ],
}
REFUSED: dict[str, Any] = {"known_speaker_names": ["ann"], "known_speaker_references": ["data:audio/wav;base64,AA=="]}
CASES = [(name, case) for name, cases in HONOURED.items() for case in cases]


def parameters(method: Callable[..., object]) -> set[str]:
    return {*inspect.signature(method).parameters} - TRANSPORT


def test_every_parameter_of_the_client_is_known_here() -> None:
    assert parameters(Transcriptions.create) == {*HONOURED, *REFUSED}
    assert parameters(Translations.create) <= set(HONOURED)


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}={case.value}" for name, case in CASES])
def test_a_parameter_of_a_transcription_is_honoured(bench: Bench, name: str, case: Honoured) -> None:
    fields = {"file": FILE, "model": "whisper-1", **case.beside, name: case.value}
    assert case.shows(bench, bench.client.audio.transcriptions.create(**fields))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_given_is_refused_with_the_name_of_the_parameter(bench: Bench, name: str) -> None:
    fields: dict[str, Any] = {"file": FILE, "model": "whisper-1", name: REFUSED[name]}
    with pytest.raises(openai.BadRequestError) as refused:
        bench.client.audio.transcriptions.create(**fields)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", name)


def test_the_format_of_speakers_is_refused(bench: Bench) -> None:
    with pytest.raises(openai.BadRequestError, match="response_format"):
        bench.client.audio.transcriptions.create(file=FILE, model="whisper-1", response_format="diarized_json")


TRANSLATION_CASES = [(name, case) for name, case in CASES if name in parameters(Translations.create)]


@pytest.mark.parametrize(
    ("name", "case"), TRANSLATION_CASES, ids=[f"{name}={case.value}" for name, case in TRANSLATION_CASES]
)
def test_a_parameter_of_a_translation_is_honoured(bench: Bench, name: str, case: Honoured) -> None:
    fields = {"file": FILE, "model": "whisper-1", **case.beside, name: case.value}
    assert case.shows(bench, bench.client.audio.translations.create(**fields))
    assert bench.options.task == "translate"


def test_the_page_for_clients_names_every_parameter_of_the_client() -> None:
    page = (DOCS / "clients.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)(?:\[\])?`", page))
    assert parameters(Transcriptions.create) - named == set()
