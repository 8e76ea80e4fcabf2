"""What a session does: read from both forms of OpenAI's protocol, and shown in documents that its client can read."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.beta.realtime import session as beta_session
from openai.types.beta.realtime import transcription_session
from openai.types.realtime import RealtimeTranscriptionSessionCreateRequest, session_created_event

from deployments.ingress.live.audio_formats import A_LAW, MU_LAW, PCM_16_KHZ, PCM_24_KHZ
from deployments.ingress.live.configuration import LOGPROBS, SPEAKERS, WORDS, Configuration
from deployments.ingress.live.turn_detection import TurnOptions
from deployments.shared.errors import InvalidRequestError


def ga(include: list[str] | None = None, **sent: Any) -> Configuration:
    session: dict[str, Any] = {"type": "transcription", "audio": {"input": sent}}
    return Configuration().updated(session | ({} if include is None else {"include": include}), is_beta=False)


def beta(**session: Any) -> Configuration:
    return Configuration().updated(session, is_beta=True)


@pytest.mark.parametrize(
    ("configuration", "audio_format"),
    [
        (Configuration(), PCM_24_KHZ),
        (ga(format={"type": "audio/pcm", "rate": 24_000}), PCM_24_KHZ),
        (ga(format={"type": "audio/pcm", "rate": 16_000}), PCM_16_KHZ),
        (ga(format={"type": "audio/pcmu"}), MU_LAW),
        (ga(format={"type": "audio/pcma", "rate": 8000}), A_LAW),
        (beta(input_audio_format="pcm16"), PCM_24_KHZ),
        (beta(input_audio_format="g711_ulaw"), MU_LAW),
        (beta(input_audio_format="g711_alaw"), A_LAW),
        (beta(input_audio_format=None), PCM_24_KHZ),
    ],
)
def test_formats_of_both_forms_are_known(configuration: Configuration, audio_format: object) -> None:
    assert configuration.audio_format == audio_format


TURNS = {"type": "server_vad", "threshold": 0.7, "prefix_padding_ms": 100, "silence_duration_ms": 900}


def test_the_turn_detection_is_the_clients_in_both_forms() -> None:
    wanted = TurnOptions(0.7, 0.1, 0.9)
    assert ga(turn_detection=TURNS).turns == wanted
    assert beta(turn_detection=TURNS).turns == wanted
    assert ga(turn_detection=None).turns is None
    assert beta(turn_detection=None).turns is None
    assert ga().turns == TurnOptions()
    assert ga(turn_detection={"type": "server_vad", "threshold": 0.0}).turns == TurnOptions(threshold=0.0)


def test_the_transcription_is_the_clients_in_both_forms() -> None:
    asked = {"model": "whisper-1", "language": "de", "prompt": "Ecobee", "keywords": ["Ray"]}
    for configuration in (ga(transcription=asked), beta(input_audio_transcription=asked)):
        form = configuration.form
        assert (form.model, form.language, form.prompt) == ("whisper-1", "de", "Ecobee")
        assert form.all_hotwords == "Ray"
        assert not form.vad_filter


def test_who_asks_for_speakers_may_say_whom_to_expect() -> None:
    reference = "data:audio/wav;base64,UklGRg=="
    known = {"known_speaker_names": ["Ann"], "known_speaker_references": [reference]}
    configuration = ga([SPEAKERS], transcription=known)
    form = configuration.form
    assert (form.needs_diarizer, form.wants_embeddings, form.needs_word_times) == (True, True, True)
    assert (form.known_speaker_names, form.known_speaker_references) == (("Ann",), (reference,))
    shown = configuration.document("ga", "sess_1", 0)
    assert shown["include"] == [SPEAKERS]
    assert shown["audio"]["input"]["transcription"] == {"known_speaker_names": ["Ann"]}
    assert not ga().form.needs_diarizer
    with pytest.raises(InvalidRequestError, match="one recording for each"):
        ga(transcription={"known_speaker_names": ["Ann"]})


def test_what_an_update_leaves_out_stays_and_null_takes_back() -> None:
    first = ga([LOGPROBS, WORDS], transcription={"language": "de", "prompt": "a"}, turn_detection=None)
    later = first.updated(
        {"type": "transcription", "audio": {"input": {"transcription": {"prompt": None}}}}, is_beta=False
    )
    assert (later.form.language, later.form.prompt) == ("de", None)
    assert later.turns is None
    assert later.include == [LOGPROBS, WORDS]
    assert (later.form.wants_logprobs, later.form.needs_word_times) == (True, True)
    nothing = later.updated({"type": "transcription", "include": []}, is_beta=False)
    assert (nothing.form.wants_logprobs, nothing.form.needs_word_times) == (False, False)


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"turn_detection": {"type": "semantic_vad"}}, "session.audio.input.turn_detection.type"),
        ({"turn_detection": {"threshold": 2}}, "session.audio.input.turn_detection.threshold"),
        ({"turn_detection": {"silence_duration_ms": -1}}, "session.audio.input.turn_detection.silence_duration_ms"),
        ({"turn_detection": {"idle_timeout_ms": 5000}}, "session.audio.input.turn_detection.idle_timeout_ms"),
        ({"format": {"type": "audio/mp3"}}, "session.audio.input.format.type"),
        ({"format": {"type": "audio/pcmu", "rate": 16_000}}, "session.audio.input.format.rate"),
        ({"format": {"type": "audio/pcm", "rate": 8000}}, "session.audio.input.format.rate"),
        ({"transcription": {"langauge": "de"}}, "session.audio.input.transcription.langauge"),
        ({"transcription": {"language": "x" * 999}}, "session.language"),
        ({"transcription": {"language": "de", "languages": ["de", "fr"]}}, "session"),
        ({"transcription": None}, None),
        ({"x" * 999: 1}, ("session.audio.input." + "x" * 999)[:256]),
    ],
)
def test_a_wrong_field_is_named(sent: dict[str, Any], param: str | None) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ga(**sent)
    assert caught.value.param == param
    assert len(caught.value.message) < 600


def test_what_is_read_and_not_honoured_is_said() -> None:
    noisy = ga(
        noise_reduction={"type": "near_field"},
        transcription={"delay": "low"},
        turn_detection={**TURNS, "create_response": True},
    )
    assert len(noisy.warnings) == 3
    assert ga(noise_reduction=None).warnings == ()
    assert beta(input_audio_noise_reduction={"type": "far_field"}, modalities=["text"]).warnings
    assert noisy.updated({"type": "transcription"}, is_beta=False).warnings == ()


CONFIGURATIONS = [
    Configuration(),
    ga([LOGPROBS], format={"type": "audio/pcma"}, turn_detection=None, noise_reduction={"type": "near_field"}),
    beta(input_audio_transcription={"model": "whisper-1", "language": "en"}, turn_detection=TURNS),
    ga(transcription={"model": "base", "languages": ["en", "de"], "keywords": ["Ray"], "prompt": "p"}),
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_documents_are_those_of_openais_client(configuration: Configuration) -> None:
    shown = configuration.document("ga", "sess_1", 1_800_000_000)
    RealtimeTranscriptionSessionCreateRequest.model_validate(shown)
    event = session_created_event.SessionCreatedEvent.model_validate(
        {"type": "session.created", "event_id": "event_1", "session": shown}
    )
    assert event.session.type == "transcription"
    older = configuration.document("beta", "sess_1", 1_800_000_000)
    beta_session.Session.model_validate(older)
    transcription_session.TranscriptionSession.model_validate(older)


def test_a_document_that_comes_back_as_an_update_changes_nothing() -> None:
    configuration = CONFIGURATIONS[1]
    shown = configuration.document("ga", "sess_1", 0)
    session = {name: shown[name] for name in ("type", "audio", "include")}
    assert configuration.updated(session, is_beta=False).document("ga", "sess_1", 0) == {
        name: value for name, value in shown.items() if name != "warnings"
    }
