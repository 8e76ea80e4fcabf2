"""Prompts, echoes of them, and the tokens of whole words and characters."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.decoder.search import Search
from deployments.decoder.vocabulary import MAX_PROMPT_TOKENS, Vocabulary
from deployments.shared.contracts import DecodeOptions
from tests.support.paths import DEMO_MODEL
from tests.support.tiny_whisper import make_multilingual_model

GREEDY = DecodeOptions()
PROMPTED = Search("en", prompted=True)


@pytest.fixture(scope="module")
def multilingual_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_multilingual_model(tmp_path_factory.mktemp("multilingual"))


def test_english_prompt() -> None:
    vocabulary = Vocabulary(DEMO_MODEL, multilingual=False)
    names = vocabulary.tokenizer("en", "transcribe").tokenizer
    start = [names.token_to_id("<|startoftranscript|>"), names.token_to_id("<|notimestamps|>")]
    assert vocabulary.prompt(GREEDY, PROMPTED) == start
    assert vocabulary.prompt(DecodeOptions(prompt="  "), PROMPTED) == start
    assert vocabulary.prompt(DecodeOptions(prompt=" Hello. "), PROMPTED) == [
        names.token_to_id("<|startofprev|>"),
        *names.encode(" Hello.").ids,
        *start,
    ]


def test_multilingual_prompt(multilingual_dir: Path) -> None:
    vocabulary = Vocabulary(multilingual_dir, multilingual=True)
    names = vocabulary.tokenizer("de", "transcribe").tokenizer
    options = DecodeOptions(task="translate")
    wanted = ("<|startoftranscript|>", "<|de|>", "<|translate|>", "<|notimestamps|>")
    assert vocabulary.prompt(options, Search("de")) == [names.token_to_id(token) for token in wanted]


def test_a_prompt_has_room_for_hotwords_and_text() -> None:
    vocabulary = Vocabulary(DEMO_MODEL, multilingual=False)
    many = " ".join(f"name{number}" for number in range(300))
    text = " ".join(f"word {number}" for number in range(300))
    prompt = vocabulary.prompt(DecodeOptions(prompt=text, hotwords=many), PROMPTED)
    assert MAX_PROMPT_TOKENS - 5 <= len(prompt) - 1 - 2 <= MAX_PROMPT_TOKENS
    given = vocabulary.text(vocabulary.text_tokens(prompt))
    assert given.startswith("name0 name1")
    assert given.endswith("word 299")
    assert vocabulary.prompt(DecodeOptions(prompt=text, hotwords=many), Search("en")) == prompt[-2:]


def test_a_prompt_that_says_one_thing_again_and_again_says_it_once() -> None:
    vocabulary = Vocabulary(DEMO_MODEL, multilingual=False)
    once = vocabulary.prompt(DecodeOptions(prompt="Kubernetes"), PROMPTED)
    assert vocabulary.prompt(DecodeOptions(prompt="Kubernetes " * 3000), PROMPTED) == once


@pytest.mark.parametrize(
    ("text", "echoes"),
    [
        ("Ecobee, Kubernetes.", True),
        ("kubernetes", True),
        ("Kubernetes Ecobee", False),
        ("Ecobees", False),
        ("", False),
    ],
)
def test_echo_of_the_prompt(text: str, *, echoes: bool) -> None:
    vocabulary = Vocabulary(DEMO_MODEL, multilingual=False)
    options = DecodeOptions(prompt="Vocabulary: Ecobee, Kubernetes, Amanuensis.")
    assert vocabulary.echoes(text, options) is echoes


def test_pieces_of_characters_are_dropped(multilingual_dir: Path) -> None:
    vocabulary = Vocabulary(multilingual_dir, multilingual=True)
    ids = vocabulary.tokenizer("ja", "transcribe").encode("\u65e5\u672c")
    assert len(ids) == 6
    assert vocabulary.text_tokens(ids) == tuple(ids)
    assert vocabulary.text_tokens(ids[:5]) == tuple(ids[:3])
    assert vocabulary.text_tokens([ids[1], *ids[:3]]) == tuple(ids[:3])


def test_the_last_word_or_character_is_left_out(multilingual_dir: Path) -> None:
    vocabulary = Vocabulary(multilingual_dir, multilingual=True)
    word, other = (vocabulary.tokenizer("de", "transcribe").encode(f" word{number}") for number in (1, 2))
    tokens = (*word, *other)
    assert vocabulary.without_last_word(tokens, spaced=True) == tuple(word)
    assert vocabulary.without_last_word(tuple(word), spaced=True) == tuple(word)
    characters = tuple(vocabulary.tokenizer("ja", "transcribe").encode("\u65e5\u672c"))
    assert vocabulary.without_last_word(characters, spaced=False) == characters[:3]
