"""From pieces with speakers to turns: the vote of the chunks, pauses, margins, overlap."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.diarizer.pieces import Piece
from deployments.diarizer.segmentation import (
    FRAME_S,
    FRAME_STEP,
    FRAMES,
    SPEAKERS,
    STEP_FRAMES,
    Active,
    chunk_starts,
)
from deployments.diarizer.turns import LEAST_S, MARGIN_S, PAUSE_S, find_turns
from deployments.shared.contracts import Turn
from deployments.shared.frames import SAMPLE_RATE

Speech = tuple[int, float, float]
"""Speaker, from and to in seconds."""

NEAR = 2 * FRAME_S


def turns_of(speech: list[Speech], seconds: float) -> list[Turn]:
    """Return the turns of a recording whose chunks all hear who speaks, and whose pieces have the right speakers."""
    starts = chunk_starts(round(seconds * SAMPLE_RATE))
    chunks, pieces, labels = [], [], []
    for number, start in enumerate(starts):
        present = sorted({who for who, begin_s, end_s in speech if frames_of(start, begin_s, end_s)})[:SPEAKERS]
        active = np.zeros((FRAMES, SPEAKERS), np.bool_)
        for who, begin_s, end_s in speech:
            frames = frames_of(start, begin_s, end_s)
            if frames and who in present:
                local = present.index(who)
                active[frames.start : frames.stop, local] = True
                pieces.append(Piece(number, local, frames.start, frames.stop, end_s - begin_s, -20.0))
                labels.append(who)
        chunks.append(active)
    return find_turns(starts, chunks, pieces, np.array(labels), seconds) if pieces else []


def frames_of(start: int, begin_s: float, end_s: float) -> range:
    """Return the frames of the chunk that begins at a frame in which somebody speaks."""
    begin, end = round(begin_s / FRAME_S) - start, round(end_s / FRAME_S) - start
    return range(max(0, begin), min(FRAMES, end))


def assert_turns(found: list[Turn], expected: list[Speech]) -> None:
    assert [turn.speaker for turn in found] == [who for who, _, _ in expected]
    for turn, (_, begin_s, end_s) in zip(found, expected, strict=True):
        assert (turn.start_s, turn.end_s) == pytest.approx((begin_s, end_s), abs=NEAR)


def test_a_turn_is_as_long_as_the_speech_and_has_margins() -> None:
    assert_turns(turns_of([(0, 2.0, 5.0)], 20.0), [(0, 2.0 - MARGIN_S, 5.0 + MARGIN_S)])


def test_a_speaker_keeps_its_number() -> None:
    first, second = turns_of([(3, 2.0, 5.0), (1, 6.0, 9.0)], 20.0)
    assert (first.speaker, second.speaker) == (3, 1)


def test_a_pause_in_which_nobody_speaks_is_filled() -> None:
    speech = [(0, 2.0, 4.0), (0, 4.0 + PAUSE_S - 0.1, 8.0)]
    assert_turns(turns_of(speech, 20.0), [(0, 2.0 - MARGIN_S, 8.0 + MARGIN_S)])


def test_a_long_pause_ends_the_turn() -> None:
    speech = [(0, 2.0, 4.0), (0, 4.0 + PAUSE_S + 0.1, 8.0)]
    assert len(turns_of(speech, 20.0)) == 2


def test_a_pause_in_which_somebody_else_speaks_is_not_filled() -> None:
    speech = [(0, 2.0, 4.0), (1, 4.3, 4.7), (0, 5.0, 8.0)]
    assert_turns(turns_of(speech, 20.0), [(0, 2.0 - MARGIN_S, 4.15), (1, 4.15, 4.85), (0, 4.85, 8.0 + MARGIN_S)])


@pytest.mark.parametrize("gap_s", [0.0, 0.1, 0.2, 0.28])
def test_turns_share_a_gap_that_is_too_short_for_both_margins(gap_s: float) -> None:
    one, other = turns_of([(0, 2.0, 4.0), (1, 4.0 + gap_s, 8.0)], 20.0)
    assert one.end_s == pytest.approx(4.0 + gap_s / 2, abs=NEAR)
    assert other.start_s == pytest.approx(one.end_s, abs=1e-9)


def test_turns_of_two_overlap_where_both_speak_and_have_no_margins_there() -> None:
    speech = [(0, 2.0, 6.0), (1, 5.0, 9.0)]
    assert_turns(turns_of(speech, 20.0), [(0, 2.0 - MARGIN_S, 6.0), (1, 5.0, 9.0 + MARGIN_S)])


def test_a_turn_inside_another_one_stays_there() -> None:
    speech = [(0, 2.0, 9.0), (1, 5.0, 6.0)]
    assert_turns(turns_of(speech, 20.0), [(0, 2.0 - MARGIN_S, 9.0 + MARGIN_S), (1, 5.0, 6.0)])


def test_turns_reach_over_all_chunks() -> None:
    assert_turns(turns_of([(0, 1.0, 58.0)], 60.0), [(0, 1.0 - MARGIN_S, 58.0 + MARGIN_S)])


def test_no_turn_is_outside_the_recording() -> None:
    assert_turns(turns_of([(0, 0.0, 9.9)], 9.9), [(0, 0.0, 9.9)])
    (turn,) = turns_of([(0, 0.0, 9.5)], 5.0)
    assert (turn.start_s, turn.end_s) == (0.0, 5.0)
    assert turns_of([(0, 6.0, 9.5)], 5.0) == []


def vote(*heard: tuple[int, int], speaker_of_chunk: list[int], each_speaks: bool = False) -> list[Turn]:
    """Return the turns where chunks contradict each other: in each, one speaker from and to frames of the recording."""
    starts = range(0, len(heard) * STEP_FRAMES, STEP_FRAMES)
    chunks: list[Active] = []
    pieces = []
    for number, (start, (begin, end)) in enumerate(zip(starts, heard, strict=True)):
        active = np.zeros((FRAMES, SPEAKERS), np.bool_)
        chunks.append(active)
        if begin < end:
            active[begin - start : end - start, 0] = True
            pieces.append(Piece(number, 0, begin - start, end - start, 1.0, -20.0))
    labels = np.array([speaker_of_chunk[piece.chunk] for piece in pieces])
    seconds = (starts[-1] + FRAMES) * FRAME_STEP / SAMPLE_RATE
    return find_turns(starts, chunks, pieces, labels, seconds, each_speaks=each_speaks)


def test_what_one_chunk_of_four_hears_is_not_spoken() -> None:
    everywhere, nowhere = (450, 550), (0, 0)
    assert vote(everywhere, nowhere, nowhere, nowhere, speaker_of_chunk=[0, 0, 0, 0]) == []
    assert len(vote(everywhere, everywhere, everywhere, nowhere, speaker_of_chunk=[0, 0, 0, 0])) == 1


def test_most_chunks_decide_who_speaks() -> None:
    heard = (450, 550)
    (turn,) = vote(heard, heard, heard, heard, speaker_of_chunk=[1, 0, 1, 1])
    assert turn.speaker == 1


def test_who_is_known_to_be_there_is_outvoted_nowhere() -> None:
    heard, speakers = (450, 550), [1, 0, 1, 1]
    found = vote(heard, heard, heard, heard, speaker_of_chunk=speakers, each_speaks=True)
    assert 0 in {turn.speaker for turn in found}
    assert sum(turn.end_s - turn.start_s for turn in found if turn.speaker == 0) >= LEAST_S


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 90.0))
def test_whatever_is_heard_turns_are_in_order_and_in_the_recording(seed: int, seconds: float) -> None:
    rng = np.random.default_rng(seed)
    speech = [
        (int(rng.integers(4)), begin_s, begin_s + float(rng.uniform(0.1, 6.0)))
        for begin_s in np.sort(rng.uniform(0, seconds, 15)).tolist()
    ]
    found = turns_of(speech, seconds)
    assert [turn.start_s for turn in found] == sorted(turn.start_s for turn in found)
    assert all(0.0 <= turn.start_s < turn.end_s <= seconds for turn in found)
    for who in range(4):
        own = [turn for turn in found if turn.speaker == who]
        assert all(one.end_s <= other.start_s + 1e-9 for one, other in pairwise(own)), "nobody speaks twice at once"
