"""Both subtitle formats, to the letter."""

from typing import NamedTuple

import pytest

from deployments.shared.subtitles import as_srt, as_vtt


class Shown(NamedTuple):
    start_s: float
    end_s: float
    text: str
    speaker: str | None = None


CUES = [Shown(0.5, 1.25, "Good day."), Shown(3661.5, 3662.0, "Sit.")]


def test_srt() -> None:
    assert as_srt(CUES) == ("1\n00:00:00,500 --> 00:00:01,250\nGood day.\n\n2\n01:01:01,500 --> 01:01:02,000\nSit.\n")
    assert as_srt([]) == ""


def test_vtt() -> None:
    assert as_vtt(CUES) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.250\nGood day.\n\n01:01:01.500 --> 01:01:02.000\nSit.\n"
    )
    assert as_vtt([]) == "WEBVTT\n"


def cue(text: str) -> list[Shown]:
    return [Shown(0.0, 1.0, text)]


def test_markup_is_escaped_in_vtt_and_left_alone_in_srt() -> None:
    text = "R&D <b>ends</b> --> here"
    assert as_vtt(cue(text)).endswith("\nR&amp;D &lt;b&gt;ends&lt;/b&gt; --&gt; here\n")
    assert as_srt(cue(text)).endswith("\nR&D <b>ends</b> -> here\n")


def test_an_empty_line_does_not_end_a_cue() -> None:
    assert as_srt(cue("One\n\ntwo")).endswith("\nOne two\n")
    assert as_vtt(cue("One\n\ntwo")).endswith("\nOne two\n")


@pytest.mark.parametrize(
    ("seconds", "clock"),
    [(0.9996, "00:00:01,000"), (59.9996, "00:01:00,000"), (3599.9, "00:59:59,900"), (36000.0, "10:00:00,000")],
)
def test_clocks_carry_what_rounding_adds(seconds: float, clock: str) -> None:
    assert f"--> {clock}\n" in as_srt([Shown(0.0, seconds, "Now.")])


def test_who_speaks_is_told_as_each_format_does() -> None:
    said = [Shown(0.0, 1.0, "Good day.", "1"), Shown(1.0, 2.0, "Hi.", "A & B"), Shown(2.0, 3.0, "So.")]
    assert [block.splitlines()[-1] for block in as_srt(said).split("\n\n")] == ["1: Good day.", "A & B: Hi.", "So."]
    assert [block.splitlines()[-1] for block in as_vtt(said).split("\n\n")[1:]] == [
        "<v 1>Good day.",
        "<v A &amp; B>Hi.",
        "So.",
    ]
