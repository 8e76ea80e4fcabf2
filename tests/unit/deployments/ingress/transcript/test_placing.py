"""Word times that every player accepts."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.transcript.placing import SHORTEST_MS, place_words
from deployments.shared.contracts import Word


def words(*times: tuple[float, float]) -> list[Word]:
    return [Word(f"w{i}", start, end, 0.9) for i, (start, end) in enumerate(times)]


def placed(start_s: float, end_s: float, *times: tuple[float, float]) -> list[tuple[float, float]]:
    return [(word.start_s, word.end_s) for word in place_words(words(*times), start_s, end_s)]


def test_good_times_stay() -> None:
    times = [(0.5, 0.7), (0.7, 1.25), (2.0, 2.02)]
    assert placed(0.0, 3.0, *times) == times
    assert placed(0.0, 3.0) == []


def test_a_word_without_length_gets_some_and_the_next_one_waits() -> None:
    assert placed(0.0, 3.0, (1.0, 1.0), (1.0, 1.5)) == [(1.0, 1.02), (1.02, 1.5)]


def test_the_last_words_make_room_at_the_end() -> None:
    assert placed(0.0, 3.0, (2.5, 2.99), (3.0, 3.0), (3.2, 3.4)) == [(2.5, 2.96), (2.96, 2.98), (2.98, 3.0)]


def test_a_word_that_ends_too_late_does_not_push_those_behind_it() -> None:
    assert placed(0.0, 9.0, (1.0, 8.0), (2.0, 2.5)) == [(1.0, 2.0), (2.0, 2.5)]


def test_words_stay_inside_a_window_whose_ends_are_no_whole_milliseconds() -> None:
    assert placed(1.0004, 1.1006, (0.9, 1.05), (1.05, 1.2)) == [(1.001, 1.05), (1.05, 1.1)]


@given(
    times=st.lists(st.tuples(st.floats(-1, 40), st.floats(-1, 40)), max_size=60),
    start_s=st.floats(0, 3600),
    duration_s=st.floats(0.1, 30),
)
def test_any_times_become_well_formed(times: list[tuple[float, float]], start_s: float, duration_s: float) -> None:
    end_s = start_s + duration_s
    result = place_words(words(*((start_s + a, start_s + b) for a, b in times)), start_s, end_s)
    assert [word.text for word in result] == [f"w{i}" for i in range(len(times))]
    spans = [(round(1000 * word.start_s), round(1000 * word.end_s)) for word in result]
    shortest = min(SHORTEST_MS, (int(1000 * duration_s) - 1) // max(1, len(times)))
    assert all(end - start >= shortest for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert all(start_s - 1e-6 <= word.start_s and word.end_s <= end_s + 1e-6 for word in result)
