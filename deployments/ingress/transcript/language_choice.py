"""The language that one window of a longer recording is decoded in, where nobody named it.

A window whose language is sure decides for itself and for the doubtful ones behind it, so that a recording may change
its language, and a cough or a name does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from deployments.shared.contracts import DetectedLanguage, Transcript, Window

SURE: Final = 0.6
"""Probability from which a detected language is believed."""


@dataclass(frozen=True, slots=True)
class LanguageChoice:
    """What to decode one window in.

    Attributes:
        language: ISO code.
        other: the window's own likeliest language, where it was too doubtful to be believed; None where it is the same.
    """

    language: str
    other: str | None = None


def is_sure(detected: DetectedLanguage) -> bool:
    """Return whether a window's language is believed, for itself and for what follows."""
    return detected.probability >= SURE


def choose_language(detected: DetectedLanguage, before: str | None) -> LanguageChoice:
    """Return the window's own language if it is sure, else that of the last sure window before it.

    Args:
        detected: the likeliest language of the window.
        before: ISO code; None where no window before was sure.
    """
    own = detected.language
    if before is None or before == own or is_sure(detected):
        return LanguageChoice(own)
    return LanguageChoice(before, other=own)


def spoken_languages(windows: Iterable[tuple[Window, Transcript]]) -> tuple[str, ...]:
    """Return the languages of the speech, that of most of it first; the earlier one of two that are equal.

    Returns:
        ISO codes, by the seconds of windows that have text; none where there is no text.
    """
    seconds: dict[str, float] = {}
    for window, transcript in windows:
        if transcript.text:
            seconds[transcript.language] = seconds.get(transcript.language, 0.0) + spoken_s(window)
    return tuple(sorted(seconds, key=lambda language: -seconds[language]))


def spoken_s(window: Window) -> float:
    """Return the seconds of speech; those of the whole window where none was heard although it has a text."""
    return sum(end - start for start, end in window.speech or ()) or window.duration_s
