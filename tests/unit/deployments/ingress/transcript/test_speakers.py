"""Who says each word: turns, overlaps, gaps and names."""

from __future__ import annotations

import pytest

from deployments.ingress.transcript.segments import split_segments
from deployments.ingress.transcript.speakers import Speakers, SpokenBy, labels_of
from deployments.shared.contracts import Diarized, Speaker, StageTiming, Transcript, Turn, Window, Word

TIMING = StageTiming(0.0, 0.0, 1, "replica", "cpu:test")


def speakers(*turns: tuple[float, float, int], levels: tuple[float, ...] = (-20.0, -30.0)) -> Speakers:
    found = tuple(Speaker(None, level) for level in levels)
    return Speakers(Diarized(found, tuple(Turn(*turn) for turn in turns), TIMING))


DIALOGUE = speakers((0.0, 2.0, 0), (2.0, 5.0, 1), (8.0, 9.0, 0))


@pytest.mark.parametrize(
    ("start_s", "end_s", "speaker"),
    [
        (0.5, 1.0, "A"),
        (1.7, 2.2, "A"),
        (1.8, 2.4, "B"),
        (4.9, 5.4, "B"),
        (5.5, 6.0, "B"),
        (7.5, 7.9, "A"),
        (20.0, 21.0, "A"),
        (2.0, 2.0, "A"),
    ],
)
def test_a_word_is_by_whose_turn_it_lies_in_or_near(start_s: float, end_s: float, speaker: str) -> None:
    assert DIALOGUE.of(start_s, end_s) == SpokenBy(speaker)


def test_of_two_at_the_same_time_the_louder_one_is_heard_and_the_other_named() -> None:
    both = speakers((0.0, 4.0, 0), (1.0, 2.0, 1), levels=(-30.0, -20.0))
    assert both.of(1.2, 1.6) == SpokenBy("B", ("A",))
    assert both.of(2.5, 3.0) == SpokenBy("A")
    assert both.of(1.8, 2.6) == SpokenBy("A"), "the other one only overlaps a little"


def test_a_long_turn_that_began_before_shorter_ones_is_found() -> None:
    nested = speakers((0.0, 10.0, 0), (1.0, 2.0, 1), (3.0, 4.0, 1), (5.0, 6.0, 1))
    assert nested.of(8.0, 8.5) == SpokenBy("A")


def test_nobody_speaks_where_no_voice_was_found() -> None:
    nobody = Speakers(Diarized((), (), TIMING))
    assert nobody.of(0.0, 1.0) is None
    assert nobody.labels == ()


def test_strangers_have_letters_that_no_known_person_has() -> None:
    known = [Speaker("B", 0.0), Speaker(None, 0.0), Speaker(None, 0.0), Speaker("Ann", 0.0)]
    assert labels_of(known) == ("B", "A", "C", "Ann")
    assert labels_of([Speaker(None, 0.0)] * 28)[-3:] == ("Z", "AA", "AB")


def test_a_segment_ends_where_the_speaker_changes() -> None:
    words = tuple(
        Word(f" {text}", 0.5 * i, 0.5 * i + 0.4, 0.9)
        for i, text in enumerate(["are", "you", "there", "yes", "I", "am"])
    )
    transcript = Transcript("are you there yes I am", (1,), "en", 1.0, -0.1, 0.0, 1.0, 0.0, words=words)
    found = split_segments([(Window(0, 0.0, 3.0), transcript)], speakers=speakers((0.0, 1.5, 0), (1.5, 3.0, 1)))
    assert [(segment.speaker, segment.text) for segment in found] == [("A", "are you there"), ("B", "yes I am")]


def test_words_without_times_are_by_who_speaks_most_in_their_window() -> None:
    transcript = Transcript("hello", (1,), "en", 1.0, -0.1, 0.0, 1.0, 0.0)
    (segment,) = split_segments([(Window(0, 1.0, 5.0), transcript)], speakers=DIALOGUE)
    assert segment.speaker == "B"
