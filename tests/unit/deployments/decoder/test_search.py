"""The order of the searches for a text: as asked for, then surer ways, sampling last."""

from __future__ import annotations

from deployments.decoder.search import Search, ladder
from deployments.shared.contracts import DecodeOptions


def test_as_asked_then_a_beam_then_without_repetition() -> None:
    assert ladder(DecodeOptions(), ["en"], ()) == (
        Search("en"),
        Search("en", 5),
        Search("en", 5, no_repeat_ngram_size=5),
    )


def test_the_other_language_comes_second() -> None:
    second = ladder(DecodeOptions(other_language="de"), ["en"], ())[1]
    assert second == Search("de")


def test_each_language_it_may_be_comes_first() -> None:
    assert [search.language for search in ladder(DecodeOptions(), ["la", "hu", "en"], ())[:3]] == ["la", "hu", "en"]


def test_only_what_was_asked_for_sees_the_prompt() -> None:
    for options in (DecodeOptions(prompt="Ecobee"), DecodeOptions(hotwords="Ecobee")):
        searches = ladder(options, ["en"], ())
        assert searches[:2] == (Search("en", prompted=True), Search("en"))
        assert not any(search.prompted for search in searches[1:])


def test_a_draft_is_searched_for_as_asked_and_without_the_prompt_alone() -> None:
    assert ladder(DecodeOptions(draft=True), ["en"], (0.2,)) == (Search("en"),)
    assert ladder(DecodeOptions(draft=True, prompt="Ecobee"), ["en"], (0.2,)) == (
        Search("en", prompted=True),
        Search("en"),
    )


def test_a_wide_beam_is_not_tried_twice() -> None:
    searches = ladder(DecodeOptions(beam_size=5), ["en"], ())
    assert searches == (Search("en", 5), Search("en", 5, no_repeat_ngram_size=5))
    assert ladder(DecodeOptions(beam_size=8), ["en"], ())[0] == Search("en", 8)


def test_temperatures_are_sampled_last_and_only_higher_ones() -> None:
    searches = ladder(DecodeOptions(temperature=0.4), ["en"], (0.2, 0.4, 0.8))
    assert [(search.temperature, search.seeded) for search in searches] == [
        (0.4, False),
        (0.0, False),
        (0.0, False),
        (0.8, True),
    ]
