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
from openai.types.audio import TranscriptionDiarized, TranscriptionTextSegmentEvent
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

VOICE = "data:audio/wav;base64,dm9pY2U="
ANN = {"known_speaker_names": ["ann"], "known_speaker_references": [VOICE]}
SPEAKERS = {"response_format": "diarized_json"}

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
    "known_speaker_names": [
        Honoured(
            ["ann"],
            lambda bench, _: [voice.name for voice in bench.stages.speaker_options.known] == ["ann"],
            {**SPEAKERS, "known_speaker_references": [VOICE]},
        ),
    ],
    "known_speaker_references": [
        Honoured([VOICE], lambda bench, _: len(bench.stages.voices) == 1, {**SPEAKERS, "known_speaker_names": ["ann"]}),
    ],
    "stream": [
        Honoured(True, lambda _, answer: [event.type for event in answer][-1] == "transcript.text.done"),
        Honoured(True, lambda _, answer: len([*answer][-1].logprobs) == 2, {"include": ["logprobs"]}),
        Honoured(False, lambda _, answer: answer.text == "0 1"),
        Honoured(None, lambda _, answer: answer.text == "0 1"),
    ],
}
CASES = [(name, case) for name, cases in HONOURED.items() for case in cases]


def parameters(method: Callable[..., object]) -> set[str]:
    return {*inspect.signature(method).parameters} - TRANSPORT


def test_every_parameter_of_the_client_is_known_here() -> None:
    assert parameters(Transcriptions.create) == {*HONOURED}
    assert parameters(Translations.create) <= set(HONOURED)


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}={case.value}" for name, case in CASES])
def test_a_parameter_of_a_transcription_is_honoured(bench: Bench, name: str, case: Honoured) -> None:
    fields = {"file": FILE, "model": "whisper-1", **case.beside, name: case.value}
    assert case.shows(bench, bench.client.audio.transcriptions.create(**fields))


def test_speakers_are_as_the_client_types_them(bench: Bench) -> None:
    fields: dict[str, Any] = {"file": FILE, "model": "whisper-1", "response_format": "diarized_json", **ANN}
    answer = bench.client.audio.transcriptions.create(**fields)
    assert isinstance(answer, TranscriptionDiarized)
    assert [(segment.speaker, segment.text) for segment in answer.segments] == [("ann", "0"), ("A", "1")]
    TranscriptionDiarized.model_validate_json(answer.model_dump_json())


def test_a_stream_has_an_event_for_each_segment_by_one_speaker(bench: Bench) -> None:
    fields: dict[str, Any] = {"file": FILE, "model": "whisper-1", "response_format": "diarized_json", "stream": True}
    events = [*bench.client.audio.transcriptions.create(**fields)]
    segments = [event for event in events if isinstance(event, TranscriptionTextSegmentEvent)]
    assert [(segment.id, segment.speaker, segment.text) for segment in segments] == [
        ("seg_0", "A", "0"),
        ("seg_1", "B", "1"),
    ]
    assert [event.type for event in events][-1] == "transcript.text.done"


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
