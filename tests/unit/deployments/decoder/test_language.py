"""The languages that a window may be in, of those that CTranslate2 ranks."""

import pytest

from deployments.decoder.language import Language, after, competitors, ranked_languages

RANKING = [
    ("<|nn|>", 0.4),
    ("<|de|>", 0.3),
    ("<|nocaptions|>", 0.1),
    ("<|en|>", 0.1),
    ("<|fr|>", 0.05),
    ("<|ja|>", 0.05),
]
KNOWN = ("de", "en", "fr", "ja", "nn")


def test_only_languages_that_the_model_knows_are_ranked() -> None:
    assert ranked_languages(RANKING, KNOWN) == (
        Language("nn", 0.4),
        Language("de", 0.3),
        Language("en", 0.1),
        Language("fr", 0.05),
        Language("ja", 0.05),
    )


def test_four_languages_compete_at_most() -> None:
    assert len(competitors(ranked_languages(RANKING, KNOWN), heard_s=8.0)) == 4


def test_hints_leave_no_other_candidate_and_share_all_of_the_probability() -> None:
    first, second = ranked_languages(RANKING, KNOWN, ("en", "de"))
    assert (first.code, second.code) == ("de", "en")
    assert (first.probability, second.probability) == pytest.approx((0.75, 0.25))


def test_hints_of_no_probability_stay_candidates() -> None:
    assert ranked_languages([("<|en|>", 1.0), ("<|de|>", 0.0), ("<|fr|>", 0.0)], KNOWN, ("de", "fr")) == (
        Language("de", 0.0),
        Language("fr", 0.0),
    )


def ranked(*probabilities: tuple[str, float]) -> tuple[Language, ...]:
    return tuple(Language(code, probability) for code, probability in probabilities)


@pytest.mark.parametrize(
    ("languages", "tried"),
    [
        (ranked(("en", 0.4), ("de", 0.3)), "en"),
        (ranked(("en", 0.0), ("de", 0.0)), "en"),
        (ranked(("id", 0.61), ("en", 0.2)), "en"),  # "then the eunuch", in 0.9 s
        (ranked(("de", 0.5), ("fr", 0.2), ("nl", 0.1), ("es", 0.08), ("en", 0.06)), "en"),  # of no four likeliest
        (ranked(("de", 0.97), ("en", 0.01)), "de en"),
        (ranked(("de", 0.97)), "de en"),
    ],
)
def test_behind_a_language_another_is_tried_only_where_it_is_much_likelier_and_never_alone(
    languages: tuple[Language, ...], tried: str
) -> None:
    assert " ".join(language.code for language in after("en", languages)) == tried
