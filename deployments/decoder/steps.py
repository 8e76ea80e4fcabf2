"""The steps that a window takes on its way to a transcript: detect its language, search for its text, align it.

Steps of several windows that are equal (``Decoding.step``) are one call of the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deployments.decoder.language import DETECTION_FRAMES, DETECTION_STRIDE, Language
from deployments.decoder.quality import Attempt
from deployments.decoder.search import Search
from deployments.shared.contracts import DecodeOptions, Transcript, Window

MAX_POSITIONS: Final = 448
"""Positions of Whisper's decoder; a prompt and its text share them."""

SHORT_S: Final = 6.8
SHORT_TOKENS: Final = 112
"""Tokens that a window of up to 6.8 s may hold; such windows also have the fewest encoder states."""

States: TypeAlias = NDArray[np.float16 | np.float32]
"""Encoder states ``[frames, d_model]``, one frame per 20 ms."""


@dataclass(frozen=True, slots=True)
class DecodeItem:
    """One window to decode.

    Attributes:
        states: encoder states ``[frames, d_model]``, one frame per 20 ms.
        window: where in the audio the states come from.
        options: what its request asked for.
    """

    states: States
    window: Window
    options: DecodeOptions


class Detect(NamedTuple):
    """What the windows of one ``Whisper.detect_language`` call have in common."""

    frames: int

    @property
    def chosen(self) -> slice:
        """The encoder states that the language is detected from: at a second look all that there are."""
        return slice(0, self.frames, DETECTION_STRIDE if self.frames == DETECTION_FRAMES else 1)


class Generate(NamedTuple):
    """What the windows of one ``Whisper.generate`` call have in common; ``alone`` is not None for a call of its own.

    With ``logits`` the results hold those of all tokens at each step, 0.2 MB each: only drafts are told by them.
    """

    frames: int
    prompt_tokens: int
    max_new_tokens: int
    beam_size: int
    no_repeat_ngram_size: int
    temperature: float
    logits: bool
    alone: int | None

    @property
    def token_limit(self) -> int:
        """Tokens after which a text is cut: the bound of its window, or what its prompt leaves of the positions."""
        return min(self.max_new_tokens, MAX_POSITIONS - (self.prompt_tokens - 1))


class Align(NamedTuple):
    """The alignment of one window, which is a call of its own."""

    alone: int


Step: TypeAlias = Detect | Generate | Align


@dataclass(slots=True, eq=False)
class Decoding:
    """One window on its way to a transcript.

    Attributes:
        item: the window.
        languages: candidates, the likeliest first: one where it is sure, none until it is known.
        frames_heard: encoder states that the language is detected from.
        searches: searches still to be tried while no text is good, the next one first.
        prompt: token ids that the next search begins with.
        attempts: what the searches found.
        chosen: the attempt that becomes the transcript; None until the searches are over.
        transcript: None until the window is done.
    """

    item: DecodeItem
    languages: tuple[Language, ...] = ()
    frames_heard: int = DETECTION_FRAMES
    searches: tuple[Search, ...] = ()
    prompt: list[int] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    chosen: Attempt | None = None
    transcript: Transcript | None = None

    @property
    def language(self) -> Language | None:
        """The likeliest language; None until it is known."""
        return self.languages[0] if self.languages else None

    @property
    def step(self) -> Step:
        """The next step; equal ones can be one call."""
        frames = len(self.item.states)
        if self.language is None:
            return Detect(min(frames, self.frames_heard))
        if self.chosen is not None:
            return Align(id(self))
        search = self.searches[0]
        return Generate(
            frames=frames,
            prompt_tokens=len(self.prompt),
            max_new_tokens=max_new_tokens(self.item.window.duration_s),
            beam_size=search.beam_size,
            no_repeat_ngram_size=search.no_repeat_ngram_size,
            temperature=search.temperature,
            logits=self.item.options.draft,
            alone=id(self) if search.seeded else None,
        )


def max_new_tokens(duration_s: float) -> int:
    """Return how many tokens a window of this length may hold, so that endless repetition on noise ends early.

    English speech takes 4-8 tokens per second, scripts that the tokenizer hardly knows several times that. In one step,
    because windows of one call share it.
    """
    return SHORT_TOKENS if duration_s <= SHORT_S else MAX_POSITIONS // 2
