"""Which language a window is decoded in where nobody named it."""

from __future__ import annotations

import pytest

from deployments.ingress.transcript.language_choice import (
    SURE,
    LanguageChoice,
    choose_language,
    is_sure,
    spoken_languages,
)
from deployments.shared.contracts import DetectedLanguage, Transcript, Window
from tests.support.scripted_stages import TIMING

DOUBT = SURE - 0.01


@pytest.mark.parametrize(
    ("language", "probability", "before", "choice"),
    [
        ("de", SURE, None, LanguageChoice("de")),
        ("de", DOUBT, None, LanguageChoice("de")),
        ("de", SURE, "en", LanguageChoice("de")),
        ("de", DOUBT, "de", LanguageChoice("de")),
        ("de", DOUBT, "en", LanguageChoice("en", other="de")),
    ],
)
def test_a_doubtful_window_keeps_the_language_of_the_last_sure_one(
    language: str, probability: float, before: str | None, choice: LanguageChoice
) -> None:
    detected = DetectedLanguage(language, probability, TIMING)
    assert is_sure(detected) == (probability >= SURE)
    assert choose_language(detected, before) == choice


def done(index: int, language: str, text: str, *speech: tuple[float, float]) -> tuple[Window, Transcript]:
    window = Window(index, 10.0 * index, 10.0 * index + 10, speech)
    return window, Transcript(text, (1,), language, 1.0, -0.1, 0.0, 1.0, 0.0)


def test_the_spoken_language_is_that_of_most_seconds_of_speech_with_a_text() -> None:
    windows = [
        done(0, "de", "Guten Tag", (0.0, 4.0)),
        done(1, "en", "Good day", (10.0, 13.0)),
        done(2, "en", "bye", (20.0, 21.5)),
        done(3, "nn", "", (30.0, 40.0)),
    ]
    assert spoken_languages(windows) == ("en", "de")
    assert spoken_languages(windows[:2]) == ("de", "en")


def test_of_two_languages_that_share_the_speech_the_earlier_one_is_told() -> None:
    assert spoken_languages([done(0, "de", "a", (0.0, 1.0)), done(1, "en", "b", (10.0, 11.0))]) == ("de", "en")


def test_silence_is_in_no_language() -> None:
    assert spoken_languages([done(0, "nn", "")]) == ()
    assert spoken_languages([]) == ()


def test_a_text_where_no_speech_was_heard_counts_with_its_window() -> None:
    assert spoken_languages([done(0, "de", "a", (0.0, 1.0)), done(1, "en", "b")]) == ("en", "de")
