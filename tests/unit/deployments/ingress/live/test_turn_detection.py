"""When somebody begins to speak and when they have ended, by the probabilities alone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.ingress.live.turn_detection import (
    LAST_CHUNKS,
    LONGEST,
    Started,
    Stopped,
    Turn,
    TurnDetector,
    TurnOptions,
)
from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.voice_chunks import CHUNK

SILENCE_CHUNKS = 16  # 0.5 s
PADDING = round(0.3 * SAMPLE_RATE)
USUAL = TurnOptions()


def turns(probabilities: Iterable[float], options: TurnOptions = USUAL, longest_s: float = 30.0) -> list[Turn]:
    detector = TurnDetector(options, 0, longest_s)
    found = (detector.hear(index * CHUNK, probability) for index, probability in enumerate(probabilities))
    return [turn for turn in found if turn is not None]


def test_a_turn_has_its_padding_before_and_its_silence_behind() -> None:
    speech = [0.0] * 20 + [0.9] * 10 + [0.0] * 20
    assert turns(speech) == [
        Started(20 * CHUNK - PADDING),
        Stopped((30 + SILENCE_CHUNKS) * CHUNK, 30 * CHUNK, 30 * CHUNK),
    ]


def test_a_noise_shorter_than_a_word_is_no_turn() -> None:
    assert turns([0.0, 0.9, 0.9, 0.0, 0.0, 0.9, 0.1] * 5) == []


def test_a_pause_shorter_than_the_silence_does_not_end_a_turn() -> None:
    found = turns([0.9] * 10 + [0.0] * (SILENCE_CHUNKS - 1) + [0.9] * 10 + [0.0] * SILENCE_CHUNKS)
    assert [type(turn) for turn in found] == [Started, Stopped]


def test_a_doubtful_probability_neither_begins_nor_ends_speech() -> None:
    assert turns([0.4] * 100) == []
    assert [type(turn) for turn in turns([0.9] * 5 + [0.4] * 100)] == [Started]


def test_behind_the_speech_there_may_be_more_that_is_too_soft_to_be_sure() -> None:
    (_, stopped) = turns([0.9] * 10 + [0.0] * 3 + [0.4] * 2 + [0.0] * (SILENCE_CHUNKS - 5))
    assert stopped == Stopped((10 + SILENCE_CHUNKS) * CHUNK, 10 * CHUNK, 15 * CHUNK)


def test_the_threshold_and_the_silence_are_those_of_the_client() -> None:
    assert turns([0.5] * 10, TurnOptions(threshold=0.6)) == []
    (_, stopped) = turns([0.9] * 10 + [0.0] * 3, TurnOptions(silence_s=0.09))
    assert stopped == Stopped(13 * CHUNK, 10 * CHUNK, 10 * CHUNK)


def test_no_silence_at_all_still_needs_one_quiet_chunk() -> None:
    assert turns([0.9] * 10 + [0.0], TurnOptions(silence_s=0.0))[1] == Stopped(11 * CHUNK, 10 * CHUNK, 10 * CHUNK)


def test_the_padding_never_reaches_into_the_turn_before() -> None:
    found = turns(([0.9] * 10 + [0.0] * SILENCE_CHUNKS) * 2, TurnOptions(padding_s=2.0))
    assert found[2] == Started((10 + SILENCE_CHUNKS) * CHUNK)


def test_the_longer_a_turn_the_shorter_the_pause_that_ends_it() -> None:
    long = int(24 * SAMPLE_RATE / CHUNK)
    (_, stopped) = turns([0.9] * long + [0.0] * 6)
    assert isinstance(stopped, Stopped)
    assert not stopped.goes_on
    assert [type(turn) for turn in turns([0.9] * 100 + [0.0] * 6)] == [Started]


def test_a_turn_without_any_pause_is_cut_at_its_quietest_end_and_goes_on_there() -> None:
    chunks = LONGEST // CHUNK
    probabilities = [0.9] * (chunks + 100)
    probabilities[chunks - 5] = 0.5
    found = turns(probabilities)
    end = (chunks - 4) * CHUNK
    assert found == [Started(0), Stopped(end, end, end, goes_on=True)]


@pytest.mark.parametrize("longest_s", [5.0, 28.0])
def test_no_turn_is_longer_than_the_model_hears(longest_s: float) -> None:
    found = turns([0.9] * 5000, longest_s=longest_s)
    ends = [0, *(turn.at for turn in found if isinstance(turn, Stopped))]
    lengths = [after - before for before, after in pairwise(ends)]
    assert len(lengths) > 4
    assert max(lengths) <= longest_s * SAMPLE_RATE
    assert min(lengths) >= longest_s * SAMPLE_RATE - (LAST_CHUNKS + 1) * CHUNK


def test_what_a_client_takes_out_is_no_part_of_a_later_turn() -> None:
    detector = TurnDetector(TurnOptions(), 0, 30.0)
    for index in range(10):
        detector.hear(index * CHUNK, 0.9)
    detector.forget(10 * CHUNK)
    assert detector.begun is None
    found = [detector.hear((10 + index) * CHUNK, 0.9) for index in range(3)]
    assert found == [None, None, Started(10 * CHUNK)]


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.9]), max_size=400), st.floats(0, 2), st.floats(0, 2))
def test_turns_alternate_and_never_overlap(probabilities: list[float], padding_s: float, silence_s: float) -> None:
    found = turns(probabilities, TurnOptions(0.5, padding_s, silence_s), longest_s=4.0)
    at, speaking = 0, False
    for turn in found:
        assert turn.at >= at
        assert isinstance(turn, Stopped) == speaking
        at, speaking = turn.at, isinstance(turn, Started) or turn.goes_on
        assert at <= len(probabilities) * CHUNK
