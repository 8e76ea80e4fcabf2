"""Language names and codes."""

from __future__ import annotations

import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES

from deployments.shared.languages import LANGUAGES, WITHOUT_SPACES, language_code


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


@pytest.mark.parametrize("name", ["", "klingon", "xx", "engl"])
def test_unknown_languages(name: str) -> None:
    assert language_code(name) is None


def test_every_name_leads_to_its_code() -> None:
    assert {language_code(name): name for name in LANGUAGES.values()} == LANGUAGES
