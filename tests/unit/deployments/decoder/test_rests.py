"""Where speech goes on after a window's text."""

from __future__ import annotations

import pytest

from deployments.decoder.rests import may_end_early, rest_after_cut, rest_after_end, speech_s
from deployments.shared.contracts import Window

BEGIN_S = 100.0
PAIR = Window(0, BEGIN_S, 128.0, ((100.2, 112.0), (114.0, 120.0), (120.4, 127.8)))


def test_seconds_of_speech() -> None:
    assert speech_s(PAIR) == pytest.approx(25.2)
    assert speech_s(Window(0, 3.0, 10.0)) == 7.0
    assert speech_s(Window(0, 3.0, 10.0, ())) == 0.0


def test_only_a_short_text_with_a_long_pause_may_end_early() -> None:
    assert may_end_early(PAIR, "a" * 300)
    assert not may_end_early(PAIR, "a" * 400)
    assert not may_end_early(Window(0, 100.0, 128.0, ((100.2, 112.0), (112.5, 127.8))), "a" * 100)
    assert not may_end_early(Window(0, 100.0, 128.0, ((100.2, 112.0), (127.0, 127.8))), "a" * 10)
    assert not may_end_early(Window(0, 100.0, 128.0), "a")


@pytest.mark.parametrize(
    ("end_s", "rest_s"),
    [
        (111.8, 113.8),  # in the pause
        (112.1, 113.8),
        (109.0, 109.0),  # long before the pause
        (117.0, 117.0),  # amid the second utterance
        (119.9, 120.2),  # at the end of a stretch
        (127.0, None),  # what is left is within the error of word times
        (100.5, None),  # no progress
    ],
)
def test_the_rest_of_a_text_that_ended(end_s: float, rest_s: float | None) -> None:
    assert rest_after_end(PAIR, end_s) == (rest_s and pytest.approx(rest_s))


def test_where_nobody_listened_a_text_that_ended_is_whole() -> None:
    assert rest_after_end(Window(0, 0.0, 30.0), 5.0) is None


def test_the_rest_of_a_text_that_was_cut_begins_with_the_next_word() -> None:
    assert rest_after_cut(PAIR, 117.3) == 117.3
    assert rest_after_cut(Window(0, 0.0, 30.0), 22.6) == 22.6
    assert rest_after_cut(PAIR, 127.5) is None
    assert rest_after_cut(PAIR, 100.9) is None
    assert rest_after_cut(Window(0, 0.0, 30.0, ()), 5.0) is None
