"""When to believe a text, and which of several."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.decoder.quality import Attempt, best_attempt
from deployments.decoder.search import Search

GOOD = Attempt("A text.", (1,), avg_logprob=-0.3, no_speech_prob=0.0, search=Search("en"), speech_s=5.0)
LOOP = replace(GOOD, text="And so on. " * 30)
SPOKEN_AGAIN = replace(LOOP, avg_logprob=-0.1, speech_s=20.0)


@pytest.mark.parametrize(
    ("avg_logprob", "no_speech_prob", "silent"),
    [(-1.5, 0.7, True), (-0.5, 0.7, False), (-1.5, 0.5, False), (-0.5, 0.5, False)],
)
def test_silence_takes_both_doubts(avg_logprob: float, no_speech_prob: float, *, silent: bool) -> None:
    assert replace(GOOD, avg_logprob=avg_logprob, no_speech_prob=no_speech_prob).is_silence is silent


@pytest.mark.parametrize(
    ("avg_logprob", "no_speech_prob", "silent"),
    # Digital silence, noise, chords, and "ask" in 0.6 s, as base hears them where the voice detection hears nothing.
    [(-0.4, 0.94, True), (-1.23, 0.62, True), (-2.15, 0.38, True), (-0.83, 0.24, False)],
)
def test_where_nothing_was_heard_one_doubt_is_enough(
    avg_logprob: float, no_speech_prob: float, *, silent: bool
) -> None:
    unheard = replace(GOOD, avg_logprob=avg_logprob, no_speech_prob=no_speech_prob, speech_s=0.0)
    assert unheard.is_silence is silent


def test_a_word_or_two_are_silence_where_the_model_is_sure_that_nobody_speaks() -> None:
    you = replace(GOOD, text="you", no_speech_prob=0.94)
    assert you.is_silence
    assert not replace(you, no_speech_prob=0.85).is_silence
    assert not replace(you, text="You are here.").is_silence


def test_what_is_worth_another_attempt() -> None:
    assert not GOOD.needs_another
    assert replace(GOOD, avg_logprob=-1.1).needs_another
    assert LOOP.needs_another
    assert not replace(GOOD, avg_logprob=-1.1, no_speech_prob=0.7).needs_another


def test_what_is_said_again_and_again_is_no_loop() -> None:
    assert SPOKEN_AGAIN.compression_ratio > 2.4
    assert not SPOKEN_AGAIN.loops


@pytest.mark.parametrize(
    "attempt",
    [
        replace(SPOKEN_AGAIN, ended=False),
        replace(SPOKEN_AGAIN, speech_s=10.0),
        replace(SPOKEN_AGAIN, avg_logprob=-0.67),
    ],
    ids=["to the token limit", "faster than people speak", "unsure"],
)
def test_a_loop(attempt: Attempt) -> None:
    assert attempt.loops


def test_a_loop_at_the_end_of_a_long_text_is_one_at_the_token_limit_only() -> None:
    tokens = (*range(200), *[7, 8] * 12)
    assert replace(GOOD, tokens=tokens, ended=False).loops
    assert not replace(GOOD, tokens=tokens).loops
    assert not replace(GOOD, tokens=tuple(range(224)), ended=False).loops


@pytest.mark.parametrize(
    ("doubt", "echo"),
    [({}, False), ({"no_speech_prob": 0.73}, True), ({"avg_logprob": -0.9}, True), ({"speech_s": 0.0}, True)],
)
def test_words_of_the_prompt_need_evidence(doubt: dict[str, float], *, echo: bool) -> None:
    name = replace(GOOD, text="Kubernetes", echoes=True, **doubt)  # type: ignore[arg-type]
    assert name.is_echo is name.needs_another is echo
    assert not replace(name, echoes=False).is_echo


def test_the_likeliest_good_attempt_is_the_best() -> None:
    good = replace(GOOD, avg_logprob=-0.9)
    assert best_attempt([replace(LOOP, avg_logprob=-0.1), good]) is good
    assert best_attempt([good, GOOD]) is GOOD


def test_otherwise_the_likeliest_that_neither_loops_nor_echoes() -> None:
    echo = replace(GOOD, text="Ecobee", echoes=True, no_speech_prob=0.8)
    unlikely, likelier = replace(GOOD, avg_logprob=-2.0), replace(GOOD, avg_logprob=-1.5)
    assert best_attempt([LOOP, echo, likelier, unlikely]) is likelier
    assert best_attempt([echo, LOOP]) is LOOP


def test_otherwise_the_likeliest() -> None:
    first, second = replace(LOOP, avg_logprob=-0.2), replace(LOOP, avg_logprob=-0.4)
    assert best_attempt([second, first]) is first
