"""Loops: found wherever they are, cut to one pass, and short or honest repetition left alone."""

from __future__ import annotations

import pytest

from deployments.decoder.loops import (
    Loop,
    compression_ratio,
    first_passes,
    is_repetitive,
    longest_loop,
    until_first_pass,
)


def text_of(tokens: tuple[int, ...]) -> str:
    """One word a token, in letters that differ from token to token."""
    return " ".join(f"{chr(97 + token % 26) * 2}{token * 7919 % 1000}" for token in tokens)


def test_compression_ratio() -> None:
    assert compression_ratio("") == 0.0
    assert compression_ratio("It was the death of all his plans.") < 1.0
    assert compression_ratio("And so on. " * 30) > 2.4


@pytest.mark.parametrize(
    ("tokens", "loop"),
    [
        ([], None),
        ([1, 2, 3], None),
        ([1] * 6, None),
        ([1] * 7, Loop(0, 1, 7)),
        ([1, 2, 3, 4] * 2, None),
        ([5, *[1, 2] * 4, 6], Loop(1, 2, 8)),
        ([5, *[1, 2, 3] * 3, 1, 2], Loop(1, 3, 11)),
        ([*[1] * 9, *[2, 3] * 4], Loop(0, 1, 9)),
        ([*[1] * 7, *[2, 3] * 5], Loop(7, 2, 10)),
    ],
)
def test_the_longest_loop(tokens: list[int], loop: Loop | None) -> None:
    assert longest_loop(tokens) == loop


@pytest.mark.parametrize("period", [1, 2, 3, 7, 20])
def test_a_loop_to_the_end_is_cut_to_its_first_pass(period: int) -> None:
    told = tuple(range(100, 110))
    unit = tuple(range(period))
    looping = (told + unit * 224)[:224]
    assert first_passes(looping, text_of) == until_first_pass(looping, text_of) == told + unit


def test_what_follows_a_loop_is_kept() -> None:
    tokens = (9, *[1, 2] * 40, 5, 6, 7)
    assert first_passes(tokens, text_of) == (9, 1, 2, 5, 6, 7)
    assert until_first_pass(tokens, text_of) == (9, 1, 2)


def test_a_loop_that_a_long_text_ends_in_is_cut_though_the_whole_compresses_little() -> None:
    told = tuple(range(200))
    assert until_first_pass(told + (7, 8) * 12, lambda _: "nothing repeats") == (*told, 7, 8)
    assert until_first_pass((*told, *(7, 8) * 12, 9), lambda _: "nothing repeats") == (*told, *(7, 8) * 12, 9)


def test_two_loops_are_both_cut() -> None:
    cut = first_passes((*[1] * 60, *range(10, 20), *[2, 3] * 60), text_of)
    assert cut == (1, *range(10, 20), 2, 3)
    assert not is_repetitive(text_of(cut))


@pytest.mark.parametrize("spoken", [[1] * 6, [4, 5] * 3, list(range(200))])
def test_what_does_not_compress_is_left_alone(spoken: list[int]) -> None:
    assert first_passes(spoken, text_of) == tuple(spoken)


def test_digits_that_repeat_in_a_text_that_compresses_are_left_alone() -> None:
    numbered = tuple(token for number in range(60) for token in (1, 2, number + 3, 99, 99))
    assert is_repetitive("word 9 9 " * 60)
    assert first_passes(numbered, lambda tokens: "word 9 9 " * (len(tokens) // 5)) == numbered


def test_repetition_that_is_not_literal_is_left_alone() -> None:
    counted = tuple(range(120))
    assert first_passes(counted, lambda tokens: "".join(f"and {token % 10}, " for token in tokens[:60])) == counted


def test_scripts_of_several_bytes_a_letter_are_no_loops() -> None:
    tamil = (
        "இந்தியாவின் தெற்குப் பகுதியில் தமிழ்நாடு அமைந்துள்ளது. சென்னை அதன் தலைநகரம் ஆகும். இன்று வானிலை மிகவும் நன்றாக உள்ளது. "
        "குழந்தைகள் பூங்காவில் விளையாடுகிறார்கள். நாளை காலை நாங்கள் ரயிலில் ஊருக்குச் செல்வோம்."
    )
    assert compression_ratio(tamil) > 2.4
    assert not is_repetitive(tamil)
    assert is_repetitive("செல்லாம் " * 20)
