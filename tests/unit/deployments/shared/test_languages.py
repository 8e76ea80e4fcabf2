"""Language names and codes."""

from __future__ import annotations

import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES

from deployments.shared.languages import LANGUAGES, THREE_LETTERS, WIDER, WITHOUT_SPACES, language_code


def test_the_table_is_whispers() -> None:
    assert set(LANGUAGES) == set(_LANGUAGE_CODES)
    assert len(set(LANGUAGES.values())) == len(LANGUAGES)
    assert set(LANGUAGES) >= WITHOUT_SPACES


@pytest.mark.parametrize(
    ("name", "code"),
    [("en", "en"), (" EN ", "en"), ("English", "en"), ("german", "de"), ("Haitian Creole", "ht"), ("Mandarin", "zh")],
)
def test_codes_and_names_in_any_case(name: str, code: str) -> None:
    assert language_code(name) == code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("en-US", "en"),
        ("en_us", "en"),
        ("en_US.UTF-8", "en"),
        ("pt-BR", "pt"),
        ("es-419", "es"),
        ("haw-US", "haw"),
        ("zh-CN", "zh"),
        ("zh-TW", "zh"),
        ("zh-hk", "zh"),
        ("zh-Hans", "zh"),
        ("zh-Hant-HK", "zh"),
        ("cmn-Hans-CN", "zh"),
        ("zh-cmn-Hans-CN", "zh"),
        ("yue", "yue"),
        ("zh-yue", "yue"),
        ("yue-Hant-HK", "yue"),
        ("nb", "no"),
        ("nb-NO", "no"),
        ("nn-NO", "nn"),
        ("deu", "de"),
        ("ger", "de"),
        ("deu-DE", "de"),
        ("ENG", "en"),
        ("iw", "he"),
        ("castilian", "es"),
    ],
)
def test_codes_with_regions_and_codes_of_three_letters(name: str, code: str) -> None:
    assert language_code(name) == code


def test_every_language_of_two_letters_has_a_code_of_three() -> None:
    assert set(THREE_LETTERS.values()) == {code for code in LANGUAGES if len(code) == 2}
    assert all(len(code) == 3 for code in THREE_LETTERS)


def test_what_an_older_model_takes_a_language_for_is_a_language() -> None:
    assert {*WIDER, *WIDER.values()} <= set(LANGUAGES)


@pytest.mark.parametrize(
    "name", ["", "klingon", "xx", "engl", "xx-US", "english-US", "en-", "-en", "en-US-x-y", "zh-min"]
)
def test_unknown_languages(name: str) -> None:
    assert language_code(name) is None


def test_every_name_leads_to_its_code() -> None:
    assert {language_code(name): name for name in LANGUAGES.values()} == LANGUAGES
