"""Dialogues that are joined from sentences: whole sentences, gaps, turns and lengths, the same every time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from loadtests.benchmarks.diarization.dialogues import (
    GAP_S,
    LONGEST_S,
    Dialogue,
    Sentence,
    make_dialogues,
    make_meeting,
)
from loadtests.common.wav import RATE

READERS = ("Ann", "Bob", "Cid", "Dora", "Eve")


def sentences(readers: tuple[str, ...] = READERS, each: int = 12) -> list[Sentence]:
    """Return sentences of 5 to 16 s; their samples tell which one it is."""
    return [
        Sentence(reader, f"{reader} reads {number}", np.full((5 + number) * RATE, 100 * order + number + 1, np.int16))
        for order, reader in enumerate(readers)
        for number in range(each)
    ]


DIALOGUES = list(make_dialogues(sentences(), 6))


def test_dialogues_of_two_and_of_four_readers_alternate() -> None:
    sizes = [len({turn.speaker for turn in dialogue.turns}) for dialogue in DIALOGUES]
    assert sizes == [2, 4, 2, 4, 2, 4]
    assert len({dialogue.name for dialogue in DIALOGUES}) == 6


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda dialogue: dialogue.name)
class TestDialogue:
    def test_it_lasts_two_to_five_minutes(self, dialogue: Dialogue) -> None:
        assert 120 <= len(dialogue.pcm) / RATE <= LONGEST_S + 17

    def test_nobody_speaks_twice_in_a_row(self, dialogue: Dialogue) -> None:
        assert all(one.speaker != other.speaker for one, other in pairwise(dialogue.turns))

    def test_gaps_are_as_long_as_they_should_be(self, dialogue: Dialogue) -> None:
        gaps = [after.start_s - before.end_s for before, after in pairwise(dialogue.turns)]
        assert all(GAP_S[0] - 1e-3 <= gap <= GAP_S[1] + 1e-3 for gap in gaps)

    def test_each_turn_is_a_whole_sentence_of_its_reader(self, dialogue: Dialogue) -> None:
        spoken = {sentence.text: sentence for sentence in sentences()}
        for turn, said in zip(dialogue.turns, dialogue.said, strict=True):
            heard = dialogue.pcm[round(turn.start_s * RATE) : round(turn.end_s * RATE)]
            assert turn.speaker == said.speaker == spoken[said.text].reader
            assert np.array_equal(heard, spoken[said.text].pcm)

    def test_no_sentence_is_read_twice(self, dialogue: Dialogue) -> None:
        assert len({said.text for said in dialogue.said}) == len(dialogue.said)


def test_they_are_the_same_every_time() -> None:
    for one, other in zip(DIALOGUES, make_dialogues(sentences(), 6), strict=True):
        assert one.turns == other.turns
        assert np.array_equal(one.pcm, other.pcm)


def test_a_meeting_is_an_hour_of_six_readers_who_read_again() -> None:
    meeting = make_meeting(sentences((*READERS, "Fay")))
    assert 0 <= len(meeting.pcm) / RATE - 3600 < 17
    assert {turn.speaker for turn in meeting.turns} == {*READERS, "Fay"}
    assert all(one.speaker != other.speaker for one, other in pairwise(meeting.turns))
    with pytest.raises(ValueError, match="dialogues need 6"):
        make_meeting(sentences())


def test_too_few_readers_are_told() -> None:
    with pytest.raises(ValueError, match="3 readers"):
        list(make_dialogues(sentences(READERS[:3]), 1))
    assert list(make_dialogues([], 0)) == []
