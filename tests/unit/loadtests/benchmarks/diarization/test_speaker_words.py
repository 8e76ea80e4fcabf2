"""Words and their speakers: alignment, the names that fit best, and errors of each speaker's text."""

from __future__ import annotations

import itertools
import random

import jiwer
import pytest

from loadtests.benchmarks.diarization.speaker_words import WordErrors, word_errors
from loadtests.benchmarks.diarization.timeline import Said

DIALOGUE = [Said("Ann", "GOOD MORNING BOB"), Said("Bob", "GOOD MORNING ANN HOW DO YOU DO"), Said("Ann", "VERY WELL")]


def words_of(text: str, speaker: str) -> list[Said]:
    """Return a text word by word, as the service answers it."""
    return [Said(speaker, word) for word in text.split()]


def test_a_perfect_transcript_has_no_errors_under_other_names() -> None:
    heard = [
        *words_of("Good morning, Bob!", "A"),
        *words_of("Good morning, Ann. How do you do?", "B"),
        *words_of("Very well.", "A"),
    ]
    assert word_errors(DIALOGUE, heard) == WordErrors(12, 12, 0, 0, 0)


def test_one_voice_for_all_misattributes_the_words_of_all_others() -> None:
    heard = words_of("Good morning Bob good morning Ann how do you do very well", "A")
    found = word_errors(DIALOGUE, heard)
    assert (found.heard, found.misattributed, found.errors) == (12, 5, 0)
    assert found.errors_by_speaker == 10, "five words too many in one text, and none in the other"


def test_a_word_at_the_edge_of_a_turn_that_the_next_speaker_gets() -> None:
    heard = [
        *words_of("Good morning", "A"),
        *words_of("Bob good morning Ann how do you do", "B"),
        *words_of("very well", "A"),
    ]
    assert word_errors(DIALOGUE, heard) == WordErrors(12, 12, 1, 0, 2)


def test_words_that_are_heard_wrong_have_no_speaker_to_be_right() -> None:
    heard = [
        *words_of("Good evening Rob", "A"),
        *words_of("Good morning Ann how do you do", "B"),
        *words_of("well", "A"),
    ]
    assert word_errors(DIALOGUE, heard) == WordErrors(12, 9, 0, 3, 3)


def test_numbers_are_normalised_across_words_of_one_speaker() -> None:
    said = [Said("Ann", "I HAVE TWENTY FIVE")]
    assert word_errors(said, words_of("I have 25.", "A")) == WordErrors(3, 3, 0, 0, 0)


def test_nothing_heard_and_nothing_said() -> None:
    assert word_errors(DIALOGUE, []) == WordErrors(12, 0, 0, 12, 12)
    assert word_errors([], words_of("thank you", "A")) == WordErrors(0, 0, 0, 2, 2)
    assert word_errors([], []) == WordErrors(0, 0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(8))
def test_errors_by_speaker_are_the_fewest_of_all_pairings(seed: int) -> None:
    rng = random.Random(seed)
    vocabulary = ["apple", "river", "stone", "cloud"]
    said = [Said(rng.choice("abc"), " ".join(rng.choices(vocabulary, k=4))) for _ in range(9)]
    heard = [Said(rng.choice("xyz"), " ".join(rng.choices(vocabulary, k=4))) for _ in range(9)]

    def texts(runs: list[Said], names: str) -> list[str]:
        return [" ".join(run.text for run in runs if run.speaker == name) for name in names]

    def errors(pairs: list[tuple[str, str]]) -> int:
        found = [jiwer.process_words(one, other) for one, other in pairs]
        return int(sum(each.substitutions + each.deletions + each.insertions for each in found))

    real = texts(said, "abc")
    fewest = min(errors(list(zip(real, order, strict=True))) for order in itertools.permutations(texts(heard, "xyz")))
    assert word_errors(said, heard).errors_by_speaker == fewest
