"""Which languages a window may be in, and when one of them is sure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

DETECTION_FRAMES: Final = 544
DETECTION_STRIDE: Final = 3
"""A language is detected from every third of the first 544 encoder states: 11 s, or all of a window that has as few
(``npu_encoder.silence``), so that windows of all lengths have theirs detected together.

Of 168 windows in 11 languages two were wrong with every state of the window, two with the first 640 of them, and one
with every third of these, in a fifth of the time of the first; none of them was sure.
"""

SURE_LANGUAGE: Final = 0.75
"""Probability below which a language is judged again by the whole window.

If it is still below, it competes with the other likely languages, and the likeliest text wins: wrong languages gave
texts of -0.74 to -1.06 where the right one gave -0.10 to -0.40.
"""

SHORT_SPEECH_S: Final = 2.0
DOUBTFUL_LANGUAGE: Final = 0.5
"""Probability below which a language competes in speech this short, where a text of a word or two proves little."""

CHANGES: Final = 10.0
"""How many times likelier than the language before another one has to be: a speaker hardly ever changes it.

Of the first second, two, four and eight of 250 pieces of English none was taken for another language behind English
(four, two, two and none by the likeliest alone); of as many of 118 pieces in 11 other languages 15 of the 16 that had
their own as the likeliest were still taken for that, 27 of 29, 32 of 32 and 22 of 22.
"""

LIKELY_LANGUAGE: Final = 0.05
CANDIDATES: Final = 4


@dataclass(frozen=True, slots=True)
class Language:
    """ISO code and probability of a language; the probability is 1.0 where the language was given."""

    code: str
    probability: float


def ranked_languages(
    ranking: Iterable[tuple[str, float]], known: Collection[str], among: Collection[str] = ()
) -> tuple[Language, ...]:
    """Return the languages of a ranking that CTranslate2 made, the likeliest first.

    Args:
        ranking: language tokens and probabilities, the likeliest first. Some conversions list tokens among them that
            are no language.
        known: codes of the model's languages.
        among: codes of those that it may be, whose probabilities are 1 together then; empty for all.
    """
    codes = ((token.removeprefix("<|").removesuffix("|>"), probability) for token, probability in ranking)
    languages = (Language(code, probability) for code, probability in codes if code in known)
    if not among:
        return tuple(languages)
    possible = [language for language in languages if language.code in among]
    whole = sum(language.probability for language in possible) or 1.0
    return tuple(Language(language.code, language.probability / whole) for language in possible)


def is_sure(ranked: tuple[Language, ...]) -> bool:
    """Return whether the likeliest language needs no second look."""
    return ranked[0].probability >= SURE_LANGUAGE


def competitors(ranked: tuple[Language, ...], heard_s: float) -> tuple[Language, ...]:
    """Return the languages to try, the likeliest first.

    Args:
        ranked: what was detected, the likeliest first.
        heard_s: seconds of speech that they were detected in.
    """
    first, *others = ranked[:CANDIDATES]
    if first.probability >= (SURE_LANGUAGE if heard_s > SHORT_SPEECH_S else DOUBTFUL_LANGUAGE):
        return (first,)
    return (first, *(other for other in others if other.probability >= LIKELY_LANGUAGE))


def after(before: str, ranked: tuple[Language, ...]) -> tuple[Language, ...]:
    """Return the languages to try behind speech in another or the same language, the likeliest first.

    Another one is tried only where it is much likelier, and even then a text in the language before may be better: one
    speaker's accent is enough for a detection that is sure and wrong, and not for a likely text.

    Args:
        before: ISO code of the language before.
        ranked: what was detected, the likeliest first.
    """
    first = ranked[0]
    same = next((language for language in ranked if language.code == before), Language(before, 0.0))
    if first.code == before or first.probability < CHANGES * same.probability:
        return (same,)
    return (first, same)
