"""The text of a growing utterance only grows, and ends as the last transcription says, as far as it still can."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.ingress.live.local_agreement import LocalAgreement
from deployments.ingress.live.words import aligned_length, bare, split_words, word_logprobs
from deployments.shared.contracts import TokenLogprob


def stable_after(*texts: str, may_be_cut: bool = False) -> list[str]:
    agreement = LocalAgreement()
    return [agreement.add(text, may_be_cut=may_be_cut) for text in texts]


def test_a_word_is_stable_when_two_transcriptions_in_a_row_agree_on_it() -> None:
    texts = ["How are", "How are you do", "How are you doing", "How are you doing to day"]
    assert stable_after(*texts) == ["", "How are", " you", " doing"]


def test_case_and_punctuation_do_not_matter_and_the_newer_spelling_counts() -> None:
    assert stable_after("hello world.", "Hello, world and") == ["", "Hello, world"]


def test_the_last_word_takes_three_transcriptions_or_a_word_behind_it_where_it_may_be_cut() -> None:
    texts = ["a grain or tube", "a grain or tube", "a grain or two perhaps", "a grain or two perhaps is"]
    assert stable_after(*texts, may_be_cut=True) == ["", "a grain or", "", " two perhaps"]
    assert stable_after("so", "so", "so", may_be_cut=True) == ["", "", "so"]
    assert stable_after("so it", "so it", "so it", "so it goes", may_be_cut=True) == ["", "so", " it", ""]
    assert stable_after("so it", "so it goes", "so it goes", may_be_cut=True) == ["", "so it", ""]


def tokens_of(*tokens: tuple[str, float]) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(text, logprob) for text, logprob in tokens)


@pytest.mark.parametrize(
    ("last", "may_be_cut", "told"),
    [
        (-0.01, True, "I came to see"),
        (-0.2, True, "I came to"),
        (-0.2, False, "I came to see"),
        (-0.4, False, "I came to"),
    ],
)
def test_a_word_of_which_the_model_is_sure_takes_one_transcription_and_the_last_one_more_of_it_where_it_may_be_cut(
    last: float, may_be_cut: bool, told: str
) -> None:
    tokens = tokens_of((" I", -0.1), (" came", -0.2), (" to", 0.0), (" s", last), ("ee.", 0.0))
    assert LocalAgreement().add("I came to see.", may_be_cut=may_be_cut, tokens=tokens) == told


def test_no_word_behind_one_in_doubt_is_stable_however_sure_it_is() -> None:
    agreement = LocalAgreement()
    tokens = tokens_of((" The", 0.0), (" gut", -0.9), (" and", 0.0))
    assert agreement.add("The gut and", may_be_cut=False, tokens=tokens) == "The"
    assert agreement.add("The gut and the", may_be_cut=False) == " gut and"


def test_a_sure_word_behind_stable_ones_is_told_though_the_transcription_spells_these_otherwise() -> None:
    agreement = LocalAgreement()
    sure = tokens_of((" Two", 0.0), (" words", -0.9))
    agreement.add("Two words", may_be_cut=False, tokens=sure)
    more = tokens_of((" To", -2.0), (" words,", 0.0), (" more", 0.0))
    assert agreement.add("To words, more", may_be_cut=False, tokens=more) == " words, more"


def test_a_word_is_as_sure_as_the_least_likely_of_the_tokens_with_its_letters() -> None:
    tokens = tokens_of((" Post", -0.1), ("-mort", -0.5), ("em", -0.2), (".", -3.0), (" 今", -0.3), ("日", 0.0))
    words = split_words("Post-mortem. 今日")
    assert words == ["Post-mortem.", " 今", "日"]
    assert word_logprobs(words, tokens) == [-0.5, -0.3, 0.0]


@pytest.mark.parametrize("tokens", [(), tokens_of((" One", 0.0)), tokens_of((" One", 0.0), (" too", 0.0))])
def test_no_word_is_sure_where_the_tokens_are_of_another_text(tokens: tuple[TokenLogprob, ...]) -> None:
    assert word_logprobs(["One", " two"], tokens) == [-math.inf, -math.inf]


def test_punctuation_behind_a_stable_word_waits_for_the_next_word() -> None:
    assert stable_after("I came.", "I came.", "I came, I saw.", "I came, I saw.") == ["", "I came", "", ", I saw"]


def test_what_only_one_transcription_says_is_not_stable() -> None:
    assert stable_after("Thank you.", "The cat", "The cat sat") == ["", "", "The cat"]


def test_a_stable_word_stays_where_a_later_transcription_disagrees_and_the_rest_is_taken_from_that() -> None:
    agreement = LocalAgreement()
    for text in ("I scream for", "I scream for"):
        agreement.add(text, may_be_cut=False)
    assert agreement.stable == "I scream for"
    assert agreement.finish("Ice cream for everybody.") == " everybody."
    assert agreement.stable == "I scream for everybody."


def test_a_last_transcription_that_says_less_takes_nothing_back() -> None:
    agreement = LocalAgreement()
    for text in ("so it goes on", "so it goes on"):
        agreement.add(text, may_be_cut=False)
    assert agreement.finish("So it goes.") == "."
    assert agreement.stable == "so it goes on."


def test_an_utterance_without_partial_texts_is_its_last_transcription() -> None:
    agreement = LocalAgreement()
    assert agreement.finish("  All of it. ") == "All of it."


def test_nothing_said_is_no_text() -> None:
    agreement = LocalAgreement()
    assert [*stable_after("", ""), agreement.finish("")] == ["", "", ""]


def test_a_last_transcription_without_any_stable_word_is_told_apart_by_a_space() -> None:
    agreement = LocalAgreement()
    for text in ("one", "one"):
        agreement.add(text, may_be_cut=False)
    agreement.finish("")
    assert agreement.stable == "one"


def test_characters_count_as_words_where_the_script_has_no_spaces() -> None:
    assert stable_after("今日は天気", "今日は天気がいい。", "今日は天気がいいです。") == ["", "今日は天気", "がいい"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't, he said - go!", ["Don't,", " he", " said", " - go!"]),
        ("我用 Ray 跑", ["我", "用", " Ray", " 跑"]),
        ("用Ray跑", ["用", "Ray", "跑"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("...", ["..."]),
        ("end ...", ["end ..."]),
        ("", []),
    ],
)
def test_a_text_is_cut_into_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@settings(deadline=None)
@given(st.text(max_size=60))
def test_the_words_of_a_text_joined_are_the_text(text: str) -> None:
    assert "".join(split_words(text)) == text


@pytest.mark.parametrize(("word", "plain"), [(" “Hello,”", "hello"), ("GROẞ", "gross"), ("ดี", "ดี"), (" 50%", "50")])
def test_words_are_compared_without_case_and_marks(word: str, plain: str) -> None:
    assert bare(word) == plain


@pytest.mark.parametrize(
    ("known", "words", "length"),
    [
        ("a b c", "a b c d", 3),
        ("a b c", "a x c d", 3),
        ("a b c", "a c d e", 2),
        ("a b c", "a b b c d", 4),
        ("a b c", "", 0),
        ("a", "x y", 1),
    ],
)
def test_known_words_are_found_by_the_least_edit_distance(known: str, words: str, length: int) -> None:
    assert aligned_length(known.split(), words.split()) == length


WORDS = st.lists(st.sampled_from(["a", "b.", "C", "d,"]), max_size=8).map(" ".join)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, st.booleans()), max_size=6), WORDS)
def test_whatever_is_transcribed_the_parts_joined_are_the_text_and_none_is_taken_back(
    texts: list[tuple[str, bool]], last: str
) -> None:
    agreement, told = LocalAgreement(), ""
    for text, may_be_cut in texts:
        told += agreement.add(text, may_be_cut=may_be_cut)
        assert agreement.stable == told
    told += agreement.finish(last)
    assert agreement.stable == told
    assert not told.startswith(" ")
