"""Segments of subtitle size."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.transcript.segments import MAX_DURATION_S, MAX_WIDTH, Segment, split_segments
from deployments.shared.contracts import Transcript, Window, Word


def transcript(text: str, words: tuple[Word, ...] = (), language: str = "en") -> Transcript:
    return Transcript(text, (1, 2, 3), language, 1.0, -0.25, 0.125, 1.5, 0.0, words)


def timed(texts: list[str], start_s: float = 0.0, step_s: float = 0.3) -> tuple[Word, ...]:
    """Words without pauses between them."""
    return tuple(Word(text, start_s + step_s * i, start_s + step_s * (i + 1), 0.9) for i, text in enumerate(texts))


def split(text: str, **kwargs: float) -> list[Segment]:
    return split_segments([(Window(0, 0.0, 30.0), transcript(text, timed(text.split(), **kwargs)))])


def texts(segments: list[Segment]) -> list[str]:
    return [segment.text for segment in segments]


def test_one_segment_a_sentence() -> None:
    text = "It rains. Does it? Yes! “Really?” I think so… Fine"
    segments = split(text)
    assert texts(segments) == ["It rains.", "Does it?", "Yes!", "“Really?”", "I think so…", "Fine"]
    assert [segment.id for segment in segments] == [0, 1, 2, 3, 4, 5]
    assert " ".join(texts(segments)) == text


def test_times_and_words_are_those_of_the_segment() -> None:
    first, second = split("It rains. Does it?")
    assert (first.start_s, first.end_s) == pytest.approx((0.0, 0.6))
    assert (second.start_s, second.end_s) == pytest.approx((0.6, 1.2))
    assert [word.text for word in second.words] == ["Does", "it?"]


@pytest.mark.parametrize("text", ["Ask Dr. Miller about it.", "It costs 3.50 a piece.", "He said hm... and left."])
def test_points_inside_a_sentence(text: str) -> None:
    assert texts(split(text)) == [text]


def test_a_long_sentence_is_halved_at_the_clause_near_its_middle() -> None:
    text = (
        "When the train had finally left the station, which took it quite a while, everybody who had been waiting "
        "on the platform went home."
    )
    assert texts(split(text, step_s=0.1)) == [
        "When the train had finally left the station, which took it quite a while,",
        "everybody who had been waiting on the platform went home.",
    ]


def test_a_slow_sentence_is_halved_at_a_pause() -> None:
    before, after = timed(["one", "two", "three"], 0.0, 1.4), timed(["four", "five", "six"], 4.9, 1.4)
    words = (*before, *after)
    segments = split_segments([(Window(0, 0.0, 10.0), transcript("one two three four five six", words))])
    assert texts(segments) == ["one two three", "four five six"]
    assert (segments[0].end_s, segments[1].start_s) == pytest.approx((4.2, 4.9))


def test_a_long_sentence_without_clause_or_pause_is_halved_in_the_middle() -> None:
    segments = split(" ".join(["word"] * 20), step_s=0.1)
    assert [len(segment.words) for segment in segments] == [10, 10]


def test_chinese_is_joined_without_spaces() -> None:
    text = "今天天气很好。我们去公园吧！好的"  # noqa: RUF001
    marks = {"。", "！"}  # noqa: RUF001
    characters = [a + b if b in marks else a for a, b in pairwise([*text, ""]) if a not in marks]
    segments = split_segments([(Window(0, 0.0, 9.0), transcript(text, timed(characters, step_s=0.1), "zh"))])
    assert texts(segments) == ["今天天气很好。", "我们去公园吧！", "好的"]  # noqa: RUF001
    assert "".join(texts(segments)) == text


def test_ideographs_take_two_columns() -> None:
    text = "天" * 60
    segments = split_segments([(Window(0, 0.0, 9.0), transcript(text, timed([*text], step_s=0.1), "zh"))])
    assert texts(segments) == ["天" * 30, "天" * 30]


def test_a_window_without_words_is_one_segment() -> None:
    text = "It rains. Does it?"
    segments = split_segments([(Window(2, 5.0, 8.5), transcript(text))])
    assert segments == [Segment(0, 5.0, 8.5, text, (1, 2, 3), -0.25, 0.125, 1.5, 0.0, ())]


def test_windows_follow_each_other_and_empty_ones_vanish() -> None:
    windows = [
        (Window(0, 0.0, 1.0), transcript("One. Two.", timed(["One.", "Two."]))),
        (Window(1, 2.0, 3.0), transcript("")),
        (Window(2, 4.0, 5.0), transcript("Three.")),
    ]
    segments = split_segments(windows, first_id=7)
    assert [(segment.id, segment.text) for segment in segments] == [(7, "One."), (8, "Two."), (9, "Three.")]


def test_tokens_stay_with_an_undivided_window() -> None:
    assert [segment.tokens for segment in split("Only one.")] == [(1, 2, 3)]
    assert [segment.tokens for segment in split("One. Two.")] == [(), ()]


def test_broken_utf8_in_a_word_loses_no_text() -> None:
    text = "Good \ufffd day. Bye."
    words = timed(["Good", "\ufffd\ufffd", "day.", "Bye."])
    segments = split_segments([(Window(0, 0.0, 2.0), transcript(text, words))])
    assert " ".join(texts(segments)) == text


@given(st.lists(st.text("abc.,?", min_size=1, max_size=12), min_size=1, max_size=120), st.floats(0.01, 3.0))
def test_nothing_is_lost_and_everything_fits(parts: list[str], step_s: float) -> None:
    text = " ".join(parts)
    segments = split(text, step_s=step_s)
    assert " ".join(texts(segments)) == text
    assert [word.text for segment in segments for word in segment.words] == parts
    for segment in segments:
        fits = len(segment.text) <= MAX_WIDTH and segment.end_s - segment.start_s <= MAX_DURATION_S
        assert fits or len(segment.words) == 1
