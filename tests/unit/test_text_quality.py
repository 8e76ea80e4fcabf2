"""When to believe a text, and which of several."""

from __future__ import annotations

import pytest

from deployments.text.quality import Attempt, best_attempt


def attempt(
    *, text: str = "A text.", avg_logprob: float = -0.3, no_speech_prob: float = 0.0, temperature: float = 0.0
) -> Attempt:
    return Attempt(text, (1,), avg_logprob, no_speech_prob, temperature)


LOOP = "And so on. " * 30


def test_compression_ratio() -> None:
    assert attempt(text="").compression_ratio == 0.0
    assert attempt(text="It was the death of all his plans.").compression_ratio < 1.0
    assert attempt(text=LOOP).compression_ratio > 2.4


@pytest.mark.parametrize(
    ("avg_logprob", "no_speech_prob", "silent"),
    [(-1.5, 0.7, True), (-0.5, 0.7, False), (-1.5, 0.5, False), (-0.5, 0.5, False)],
)
def test_silence_takes_both_doubts(avg_logprob: float, no_speech_prob: float, *, silent: bool) -> None:
    assert attempt(avg_logprob=avg_logprob, no_speech_prob=no_speech_prob).is_silence is silent


def test_what_is_worth_another_attempt() -> None:
    assert not attempt().needs_another
    assert attempt(avg_logprob=-1.1).needs_another
    assert attempt(text=LOOP).needs_another
    assert not attempt(avg_logprob=-1.1, no_speech_prob=0.7).needs_another


def test_a_good_attempt_ends_the_search() -> None:
    good = attempt(avg_logprob=-0.9, temperature=0.4)
    assert best_attempt([attempt(text=LOOP, avg_logprob=-0.1), good]) is good


def test_otherwise_the_likeliest_that_does_not_repeat_itself() -> None:
    loop, unlikely, likelier = attempt(text=LOOP), attempt(avg_logprob=-2.0), attempt(avg_logprob=-1.5)
    assert best_attempt([loop, likelier, unlikely]) is likelier


def test_otherwise_the_likeliest() -> None:
    first, second = attempt(text=LOOP, avg_logprob=-0.2), attempt(text=LOOP, avg_logprob=-0.4)
    assert best_attempt([first, second]) is first
