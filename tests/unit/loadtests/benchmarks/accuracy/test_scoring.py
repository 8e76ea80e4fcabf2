"""Texts against what was spoken, with values counted by hand."""

import hashlib

import pytest

from loadtests.benchmarks.accuracy.scoring import compression_ratio, find_missing, is_loop, normalise, score

STORY = (
    "The eunuch went forth and asked the sleepers.",
    "Nobody was awake in the whole camp.",
    "So he returned to his mistress and told her.",
)


def test_english_is_compared_after_whispers_english_normaliser() -> None:
    assert normalise("Mr. Smith's colour—uh—isn't $20!", "en") == "mister smith is color is not $20"


def test_other_languages_lose_punctuation_and_case_only() -> None:
    assert normalise("«Où êtes-vous ?»", "fr") == "où êtes vous"


def test_spaces_do_not_count_where_none_are_written() -> None:
    assert normalise("你好、 世界。", "zh") == "你好世界"


def test_english_errors_are_words() -> None:
    found = score(["The cat sat on the mat by the door."], "a cat sat on mat by the the door", "en")
    assert found is not None
    assert (found.units, found.substitutions, found.deletions, found.insertions) == (9, 1, 1, 1)
    assert found.errors == 3


def test_errors_of_other_languages_are_characters() -> None:
    found = score(["Guten Tag"], "guter tag!", "de")
    assert found is not None
    assert (found.units, found.errors, found.substitutions) == (9, 1, 1)


def test_an_empty_text_lacks_every_word() -> None:
    found = score(STORY[:1], "", "en")
    assert found is not None
    assert (found.units, found.deletions, found.errors) == (8, 8, 8)
    assert found.missing == ("the eunuch went forth and asked the sleepers",)


def test_a_reference_of_which_the_normaliser_leaves_nothing_is_not_scored() -> None:
    assert score(["Uh, hmm."], "uh", "en") is None


def test_nothing_is_missing_from_a_right_text() -> None:
    assert find_missing(STORY, " ".join(STORY), "en") == ()


def test_a_sentence_that_is_not_there_is_missing() -> None:
    assert find_missing(STORY, f"{STORY[0]} {STORY[2]}", "en") == ("nobody was awake in the whole camp",)


def test_a_short_sentence_that_is_not_there_is_missing_too() -> None:
    assert find_missing(["Wait.", *STORY], " ".join(STORY), "en") == ("wait",)


def test_a_long_run_within_a_sentence_is_missing() -> None:
    text = "The eunuch went forth and told her."
    (hole,) = find_missing(STORY, text, "en")
    assert hole.endswith("so he returned to his mistress and")
    assert "nobody was awake" in hole


def test_five_words_that_are_not_there_are_errors_but_no_hole() -> None:
    assert find_missing([STORY[0]], "The eunuch sleepers", "en") == ()


def test_words_heard_as_others_are_not_missing() -> None:
    assert find_missing(STORY[:1], "a unit when fourth hand ask this leap us", "en") == ()


def test_a_single_word_in_between_does_not_hide_a_hole() -> None:
    spoken = ["Alpha beta people came to the village late at night the end came."]
    hole = find_missing(spoken, "Alpha beta village the end came.", "en")
    assert hole == ("people came to the village late at night",)


def test_characters_are_missing_where_no_spaces_are_written() -> None:
    spoken = ["今天天气很好。", "我们一起去公园散步吧。", "明天见。"]
    assert find_missing(spoken, "今天天气很好明天见", "zh") == ("我们一起去公园散步吧",)


def test_a_loop_compresses_well() -> None:
    assert compression_ratio("") == 0.0
    assert is_loop("to understand, " * 40, "He began to understand.")
    assert not is_loop(" ".join(STORY), " ".join(STORY))


def test_a_loop_in_a_long_text_is_found() -> None:
    digests = (hashlib.sha256(bytes([number])).hexdigest() for number in range(100))
    sound = " ".join(digest[:7] for digest in digests)
    assert not is_loop(sound, "")
    assert is_loop(sound + " si, si," * 60 + sound, "")


@pytest.mark.parametrize(("reference", "expected"), [("no " * 200, False), ("no no", True)])
def test_speech_that_repeats_itself_is_no_loop(reference: str, expected: object) -> None:
    assert is_loop("no " * 200, reference) == expected
