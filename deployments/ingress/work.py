"""What the stages are to do for a request: its options, checked against the model that is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.request import Request
from deployments.ingress.transcript.language_choice import spoken_languages
from deployments.shared.contracts import (
    AudioOptions,
    BlobRef,
    DecodeOptions,
    SpeechOptions,
    Transcript,
    VoiceOptions,
    Window,
)
from deployments.shared.errors import UnsupportedLanguageError
from deployments.shared.languages import WIDER, language_code
from deployments.shared.model.description import Model

ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class SpeakerWork:
    """How speakers are told apart.

    Attributes:
        fewest, most: speakers that there are; None where the client does not say.
        known: names of people, and where a recording of each one's voice lies.
        embeddings: whether the speakers' embeddings are wanted.
    """

    fewest: int | None
    most: int | None
    known: tuple[tuple[str, BlobRef], ...]
    embeddings: bool


@dataclass(frozen=True, slots=True)
class Work:
    """The options of the stages.

    Attributes:
        upload: where the uploaded file lies.
        detect_language: nobody named the language; see ``deployments.ingress.transcript.language_choice``.
        speakers: how they are told apart; None where nobody asked.
    """

    upload: BlobRef
    speech: SpeechOptions
    decode: DecodeOptions
    detect_language: bool
    speakers: SpeakerWork | None = None


def speech_options(request: Request, model: Model) -> SpeechOptions:
    """Return how the audio of a request is cut into windows."""
    form = request.form
    audio = AudioOptions(form.audio_track, separate_channels=form.channels == "separate", strict=form.strict)
    voice = VoiceOptions() if form.chunking_strategy is None else form.chunking_strategy.voice
    return SpeechOptions(form.vad_filter, model.max_window_s, audio, voice)


def decode_options(request: Request, model: Model, beam_size: int) -> DecodeOptions:
    """Return how the text of each window is generated; the language is None where it has to be detected.

    Args:
        beam_size: where the request names none and does not sample.

    Raises:
        UnsupportedLanguageError: the model does not know the language, or cannot translate.
    """
    form, languages = request.form, asked_languages(request.form, model)
    if request.task == "translate" and not model.multilingual:
        raise UnsupportedLanguageError.cannot_translate()
    return DecodeOptions(
        task=request.task,
        language=languages[0] if len(languages) == 1 else None,
        among=languages if len(languages) > 1 else (),
        language_before=request.language_before if request.language_before in (languages or model.languages) else None,
        prompt=form.prompt,
        hotwords=form.all_hotwords,
        temperature=form.temperature,
        beam_size=form.beam_size or (1 if form.temperature else beam_size),
        word_times=form.needs_word_times,
        logprobs=form.wants_logprobs,
        fallback_temperatures=form.fallback_temperatures,
        draft=request.draft,
    )


def asked_languages(form: TranscriptionForm, model: Model) -> tuple[str, ...]:
    """Return the ISO codes of the languages that the speech may be in; none where it may be any.

    Raises:
        UnsupportedLanguageError: one is no language, or the model does not know it.
    """
    if form.language is not None:
        return (_known_language(form.language, model),)
    if not form.languages:
        return () if model.multilingual else model.languages[:1]
    hints = [_language(language, model) for language in form.languages]
    known = tuple(dict.fromkeys(hint for hint in hints if hint in model.languages))
    if not known:
        raise UnsupportedLanguageError.unknown_to_model(hints[0], model.languages)
    return known


def unknown_hints(form: TranscriptionForm, model: Model) -> list[str]:
    """Return the ISO codes of ``languages`` that the model does not know: it may be another of them."""
    codes = (_language(language, model) for language in form.languages if language_code(language))
    return [code for code in dict.fromkeys(codes) if code not in model.languages]


def _known_language(asked: str, model: Model) -> str:
    code = _language(asked, model)
    if code not in model.languages:
        raise UnsupportedLanguageError.unknown_to_model(code, model.languages)
    return code


def _language(asked: str, model: Model) -> str:
    """Return the ISO code of a language, or that of a wider one where the model knows only this."""
    code = language_code(asked)
    if code is None:
        raise UnsupportedLanguageError(f"{asked!r} is not a language; use an ISO-639-1 code", param="language")
    return code if code in model.languages else WIDER.get(code, code)


def answer_language(request: Request, model: Model, texts: Sequence[tuple[Window, Transcript]]) -> str:
    """Return the ISO code of an answer's language.

    It is English for a translation, else the one asked for, else the one that most of the speech was in. For silence
    it is English if the model knows it: OpenAI's answer has to name one, and names that one too.
    """
    if request.task == "translate":
        return ENGLISH
    asked = asked_languages(request.form, model)
    found = asked if len(asked) == 1 else spoken_languages(texts)
    return next(iter(found), ENGLISH if ENGLISH in model.languages else model.languages[0])
