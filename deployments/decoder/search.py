"""The ways to look for a window's text, in the order in which they are tried until one gives a good text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from deployments.shared.contracts import DecodeOptions

WIDE_BEAM: Final = 5
"""Whisper's own beam size, for texts that the search that was asked for did not find."""

NO_REPEAT_NGRAM: Final = 5
"""Tokens in a row that the last deterministic search lets appear only once."""


@dataclass(frozen=True, slots=True)
class Search:
    """One way to look for the text of a window.

    Attributes:
        language: ISO code.
        beam_size: 1 is greedy.
        no_repeat_ngram_size: as many tokens in a row appear only once; 0 allows everything.
        temperature: above 0 samples.
        seeded: sample what the audio alone decides, not something else each time. It costs the time to load the model.
        prompted: whether the model sees the request's prompt and hotwords.
    """

    language: str
    beam_size: int = 1
    no_repeat_ngram_size: int = 0
    temperature: float = 0.0
    seeded: bool = False
    prompted: bool = False


def ladder(options: DecodeOptions, languages: Sequence[str], temperatures: tuple[float, ...]) -> tuple[Search, ...]:
    """The searches for one window: as asked for, then other deterministic ones, then sampling.

    Args:
        options: what the request asked for.
        languages: that the window may be in, the likeliest first; the first searches are one for each.
        temperatures: for the last searches; those not above the request's own are left out.
    """
    language = languages[0]
    asked = Search(language, options.beam_size, temperature=options.temperature, prompted=has_prompt(options))
    rivals = [replace(asked, language=rival) for rival in languages[1:]]
    alone = replace(asked, prompted=False)
    other = [replace(alone, language=options.other_language)] if options.other_language else []
    beam = Search(language, max(options.beam_size, WIDE_BEAM), prompted=False)
    once = replace(beam, no_repeat_ngram_size=NO_REPEAT_NGRAM)
    higher = [temperature for temperature in temperatures if temperature > options.temperature]
    sampled = [replace(alone, temperature=temperature, seeded=True) for temperature in higher]
    return tuple(dict.fromkeys((asked, *rivals, alone, *other, beam, once, *sampled)))


def has_prompt(options: DecodeOptions) -> bool:
    """Whether the request gives the model any text that came before, or words to expect."""
    return bool((options.prompt or "").strip() or (options.hotwords or "").strip())
