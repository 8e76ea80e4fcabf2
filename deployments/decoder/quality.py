"""Whether to believe what was generated: Whisper's rules on silence, repetition and confidence, and what they miss.

Thresholds without a comment are those of openai/whisper's ``transcribe``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deployments.decoder.loops import compression_ratio, ends_in_loop, is_repetitive
from deployments.decoder.search import Search

NO_SPEECH_THRESHOLD: Final = 0.6
LOGPROB_THRESHOLD: Final = -1.0

SURE_NO_SPEECH: Final = 0.9
"""Probability of no speech above which a text of a word or two is silence: in silence Whisper hears "you"."""

FEW_WORDS: Final = 2

FASTEST_SPEECH: Final = 25.0
"""Characters of text per second of speech; people who speak fast reach 20, loops have twice as many."""

SURE_LOGPROB: Final = -0.5
"""Mean log probability above which a repetitive text may have been spoken; the texts that the model made up are below
it."""

LANGUAGE_LOGPROB: Final = -0.5
"""Mean log probability above which a text is in the language that is spoken, however doubtful that was.

Texts in the right language had -0.10 to -0.40, in wrong ones -0.74 to -1.06.
"""

ECHO_NO_SPEECH: Final = 0.5
ECHO_LOGPROB: Final = -0.7
"""Bounds within which a piece of the prompt is believed: the model is sure that somebody spoke, and said it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one generation found for one window.

    Attributes:
        text: the text without surrounding white space.
        tokens: text token ids.
        avg_logprob: mean log probability per token, ``<|endoftext|>`` included; 0.0 where there is no token.
        no_speech_prob: probability of ``<|nospeech|>`` at the start of the transcript.
        search: the search that found it.
        ended: whether the model ended it; otherwise the token limit did.
        speech_s: seconds of speech in the window, as far as is known; 0.0 where nothing was heard.
        echoes: whether the text is a piece of the prompt.
        written: the tokens before a loop, or half a word, was cut off.
        logprobs: natural logarithms of the probabilities of ``tokens``, or of more; empty where nobody asks for them.
    """

    text: str
    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float
    search: Search
    ended: bool = True
    speech_s: float = 30.0
    echoes: bool = False
    written: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()

    @property
    def compression_ratio(self) -> float:
        return compression_ratio(self.text)

    @property
    def is_silence(self) -> bool:
        """Whether nobody speaks.

        The model doubts that anybody speaks and doubts its text; or it has one of the doubts, and the voice detection
        heard nothing; or it is sure of silence, and the text is a word or two.
        """
        doubts_speech = self.no_speech_prob > NO_SPEECH_THRESHOLD
        doubts_text = self.avg_logprob < LOGPROB_THRESHOLD
        if self.speech_s == 0.0 and (doubts_speech or doubts_text):
            return True
        if self.no_speech_prob > SURE_NO_SPEECH and len(self.text.split()) <= FEW_WORDS:
            return True
        return doubts_speech and doubts_text

    @property
    def loops(self) -> bool:
        """Whether it repeats itself, and more than somebody can have spoken."""
        if not self.ended and ends_in_loop(self.tokens):
            return True
        return is_repetitive(self.text) and not self._may_be_spoken

    @property
    def _may_be_spoken(self) -> bool:
        """Whether a repetitive text may be real: it has the pace of speech and an end, and the model is sure of it."""
        at_most = FASTEST_SPEECH * self.speech_s
        return self.ended and len(self.text) <= at_most and self.avg_logprob > SURE_LOGPROB

    @property
    def is_echo(self) -> bool:
        """Whether it says what the prompt says, with little evidence that anybody spoke it."""
        doubted = self.no_speech_prob > ECHO_NO_SPEECH or self.avg_logprob < ECHO_LOGPROB
        return self.echoes and (doubted or self.loops or self.speech_s == 0.0)

    @property
    def settles_language(self) -> bool:
        """Whether no other language need be tried."""
        return not self.needs_another and self.avg_logprob > LANGUAGE_LOGPROB

    @property
    def needs_another(self) -> bool:
        """Whether another search is worth its time."""
        if self.is_silence and not self.echoes:
            return False
        return self.is_echo or self.loops or self.avg_logprob < LOGPROB_THRESHOLD


def best_attempt(attempts: Sequence[Attempt]) -> Attempt:
    """Return the likeliest good attempt.

    If none is good, it is the likeliest of those that neither echo nor loop, of those that do not echo, or of all.
    """
    good = [attempt for attempt in attempts if not attempt.needs_another]
    own = [attempt for attempt in attempts if not attempt.is_echo]
    fluent = [attempt for attempt in own if not attempt.loops]
    return max(good or fluent or own or attempts, key=lambda attempt: attempt.avg_logprob)
