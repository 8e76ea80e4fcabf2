"""Intervals of error rates: cases whose answer is known."""

import math

import pytest

from loadtests.benchmarks.accuracy.bootstrap import Compared, Estimate, difference, error_rate


def rounded(estimate: Estimate, digits: int = 6) -> tuple[float, ...]:
    """Value and bounds of an estimate that has them."""
    assert estimate.low is not None
    assert estimate.high is not None
    return tuple(round(bound, digits) for bound in (estimate.value, estimate.low, estimate.high))


def test_a_rate_is_all_errors_over_all_units() -> None:
    found = error_rate([Compared("a", 10, 5), Compared("b", 90, 5)])
    assert found.value == pytest.approx(0.1)


def test_two_speakers_give_the_range_between_them() -> None:
    assert rounded(error_rate([Compared("a", 100, 10), Compared("b", 100, 30)])) == (0.2, 0.1, 0.3)


def test_the_files_of_a_speaker_stay_together() -> None:
    one_voice = [Compared("a", 10, errors) for errors in (0, 9, 1, 8)]
    assert error_rate(one_voice) == Estimate(0.45, None, None)


def test_the_interval_of_many_speakers_is_that_of_the_normal_distribution() -> None:
    speakers = [Compared(str(number), 100, number % 2 * 20) for number in range(400)]
    half = 1.96 * 0.1 / math.sqrt(400)
    assert rounded(error_rate(speakers)) == pytest.approx((0.1, 0.1 - half, 0.1 + half), abs=0.001)


def test_equal_errors_differ_by_nothing_however_the_speakers_differ() -> None:
    found = difference([Compared("a", 100, 10, 10), Compared("b", 100, 50, 50)])
    assert found == Estimate(0.0, 0.0, 0.0)


def test_a_constant_difference_has_no_width() -> None:
    found = difference([Compared("a", 100, 12, 10), Compared("b", 100, 52, 50)])
    assert rounded(found) == (0.02, 0.02, 0.02)


def test_the_same_recordings_give_the_same_interval() -> None:
    speakers = [Compared(str(number), 50 + number, number % 7) for number in range(20)]
    assert error_rate(speakers) == error_rate(speakers)
