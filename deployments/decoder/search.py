"""The ways to look for a window's text, in the order in which they are tried until one gives a good text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from deployments.shared.contracts import DecodeOptions

WIDE_BEAM: Final = 5
"""Whisper's own beam size, for a window in which the search that was asked for finds no good text."""

NO_REPEAT_NGRAM: Final = 5
"""Length of the runs of tokens that the last deterministic search lets appear only once."""


@dataclass(frozen=True, slots=True)
class Search:
    """One way to look for the text of a window.

    Attributes:
        language: ISO code.
        beam_size: hypotheses kept; 1 is greedy.
        no_repeat_ngram_size: length of the runs of tokens that appear only once; 0 allows every repetition.
        temperature: 0 takes the likeliest token; above 0 tokens are sampled.
        seeded: whether the audio alone decides the samples, so that they are the same each time. Costs the time to load
            the model.
        prompted: whether the model sees the request's prompt and hotwords.
    """

    language: str
    beam_size: int = 1
    no_repeat_ngram_size: int = 0
    temperature: float = 0.0
    seeded: bool = False
    prompted: bool = False


def ladder(options: DecodeOptions, languages: Sequence[str], temperatures: tuple[float, ...]) -> tuple[Search, ...]:
    """Return the searches for one window: as asked for, then other deterministic ones, then sampling.

    A draft is searched for as asked, and without the prompt if that misled the model: these searches are quick.

    Args:
        options: what the request asked for.
        languages: languages that the window may be in, the likeliest first; each has one of the first searches.
        temperatures: temperatures of the last searches; those not above the request's own are left out.
    """
    language = languages[0]
    asked = Search(language, options.beam_size, temperature=options.temperature, prompted=has_prompt(options))
    rivals = [replace(asked, language=rival) for rival in languages[1:]]
    alone = replace(asked, prompted=False)
    if options.draft:
        return tuple(dict.fromkeys((asked, *rivals, alone)))
    other = [replace(alone, language=options.other_language)] if options.other_language else []
    beam = Search(language, max(options.beam_size, WIDE_BEAM), prompted=False)
    once = replace(beam, no_repeat_ngram_size=NO_REPEAT_NGRAM)
    higher = [temperature for temperature in temperatures if temperature > options.temperature]
    sampled = [replace(alone, temperature=temperature, seeded=True) for temperature in higher]
    return tuple(dict.fromkeys((asked, *rivals, alone, *other, beam, once, *sampled)))


def has_prompt(options: DecodeOptions) -> bool:
    """Return whether the request gives the model any text that came before, or words to expect."""
    return bool((options.prompt or "").strip() or (options.hotwords or "").strip())
