"""The languages that a window may be in, of those that CTranslate2 ranks."""

import pytest

from deployments.decoder.language import Language, likeliest

RANKING = [
    ("<|nn|>", 0.4),
    ("<|de|>", 0.3),
    ("<|nocaptions|>", 0.1),
    ("<|en|>", 0.1),
    ("<|fr|>", 0.05),
    ("<|ja|>", 0.05),
]
KNOWN = ("de", "en", "fr", "ja", "nn")


def test_the_first_four_languages_are_candidates() -> None:
    assert likeliest(RANKING, KNOWN) == (
        Language("nn", 0.4),
        Language("de", 0.3),
        Language("en", 0.1),
        Language("fr", 0.05),
    )


def test_hints_leave_no_other_candidate_and_share_all_of_the_probability() -> None:
    first, second = likeliest(RANKING, KNOWN, ("en", "de"))
    assert (first.code, second.code) == ("de", "en")
    assert (first.probability, second.probability) == pytest.approx((0.75, 0.25))


def test_hints_of_no_probability_stay_candidates() -> None:
    assert likeliest([("<|en|>", 1.0), ("<|de|>", 0.0), ("<|fr|>", 0.0)], KNOWN, ("de", "fr")) == (
        Language("de", 0.0),
        Language("fr", 0.0),
    )
