"""Texts and transcripts of consecutive pieces as one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.transcript.joining import join_texts, join_transcripts, join_turns, rest_of, separator
from deployments.shared.contracts import TokenLogprob, Transcript, Window, Word

TRANSCRIPT = Transcript("One two", (5, 6), "en", 0.9, -0.1, 0.2, 1.1, 0.0, (Word("One", 0.0, 0.5, 0.9),))
WINDOW = Window(3, 10.0, 40.0, ((10.2, 20.0), (25.0, 39.8)))


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (["Good", "day."], "Good day."),
        (["今天天气很好。", "我们去公园"], "今天天气很好。我们去公园"),
        (["我有", "3个苹果"], "我有3个苹果"),
        (["そうですね。", "ハイ"], "そうですね。ハイ"),
        (["สวัสดี", "ครับ"], "สวัสดีครับ"),
        (["ສະບາຍດີ", "ບໍ່"], "ສະບາຍດີບໍ່"),
        (["မင်္ဂလာပါ", "ခင်ဗျာ"], "မင်္ဂလာပါခင်ဗျာ"),
        (["សួស្តី", "បាទ"], "សួស្តីបាទ"),
        (["안녕하세요", "네"], "안녕하세요 네"),
        (["नमस्ते", "जी"], "नमस्ते जी"),
        (["今天好。", "Good day.", "好"], "今天好。 Good day. 好"),
        (["", "Good", "", "day.", ""], "Good day."),
        (["12", "13"], "12 13"),
        ([], ""),
    ],
)
def test_texts_are_joined_as_their_scripts_join_words(texts: list[str], joined: str) -> None:
    assert join_texts(texts) == joined


@given(st.lists(st.text("ab 好だ.3", max_size=6)))
def test_nothing_but_a_space_comes_between_texts(texts: list[str]) -> None:
    pieces = [text for text in texts if text]
    deltas = [*pieces[:1], *(separator(before, after) + after for before, after in pairwise(pieces))]
    assert "".join(deltas) == join_texts(texts)
    assert join_texts(texts).replace(" ", "") == "".join(texts).replace(" ", "")


def test_a_rest_is_a_window_that_keeps_its_number_and_its_speech() -> None:
    rest = rest_of(WINDOW, replace(TRANSCRIPT, rest_from_s=18.0))
    assert rest == Window(3, 18.0, 40.0, ((18.0, 20.0), (25.0, 39.8)))
    unheard = rest_of(replace(WINDOW, speech=None), replace(TRANSCRIPT, rest_from_s=18.0))
    assert unheard == Window(3, 18.0, 40.0, None)


@pytest.mark.parametrize("rest_from_s", [None, 10.0, 10.05, 39.95, 40.0, 39.85])
def test_no_rest_where_nothing_is_left_or_the_text_did_not_get_on(rest_from_s: float | None) -> None:
    assert rest_of(WINDOW, replace(TRANSCRIPT, rest_from_s=rest_from_s)) is None


def test_transcripts_of_a_window_become_one() -> None:
    first = replace(TRANSCRIPT, rest_from_s=18.0)
    rest = Transcript(
        "three.", (7, 8, 9), "en", 1.0, -0.4, 0.9, 0.8, 0.2, (Word("three.", 18.0, 19.0, 0.5),), rest_from_s=None
    )
    assert join_transcripts([first]) is first
    joined = join_transcripts([first, rest])
    assert joined.avg_logprob == pytest.approx((3 * -0.1 + 4 * -0.4) / 7)
    assert replace(joined, avg_logprob=0.0) == Transcript(
        "One two three.", (5, 6, 7, 8, 9), "en", 0.9, 0.0, 0.2, 1.1, 0.2,
        (Word("One", 0.0, 0.5, 0.9), Word("three.", 18.0, 19.0, 0.5)), None,
    )  # fmt: skip


def test_what_is_still_missing_after_the_last_rest_stays_known() -> None:
    parts = [replace(TRANSCRIPT, rest_from_s=18.0), replace(TRANSCRIPT, rest_from_s=30.0)]
    assert join_transcripts(parts).rest_from_s == 30.0


def test_log_probabilities_of_a_rest_follow_those_of_its_window() -> None:
    parts = [replace(TRANSCRIPT, logprobs=(TokenLogprob(f" {i}", -float(i)),)) for i in range(2)]
    assert [token.logprob for token in join_transcripts(parts).logprobs] == [0.0, -1.0]


def test_each_turn_is_a_line_with_its_speaker() -> None:
    said = [("A", "Hello."), ("A", "How are you?"), ("B", "Fine."), (None, "Hm.")]
    assert join_turns(said) == "A: Hello. How are you?\nB: Fine.\nHm."
    assert join_turns([]) == ""
