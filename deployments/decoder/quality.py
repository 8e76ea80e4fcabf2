"""When to believe what was generated: Whisper's rules on silence, repetition and low confidence, and what they miss.

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
"""Above it a text of a word or two is silence, however likely it is: in silence Whisper hears "you"."""

FEW_WORDS: Final = 2

FASTEST_SPEECH: Final = 25.0
"""Characters of text for each second of speech; people who speak fast reach 20, loops have twice as many."""

SURE_LOGPROB: Final = -0.5
"""Of speech that does repeat itself the model is surer than this; of a text that only resembles it, it is not."""

ECHO_NO_SPEECH: Final = 0.5
ECHO_LOGPROB: Final = -0.7
"""A piece of the prompt is believed where the model is surer than this that somebody spoke, and said it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one generation gave for one window.

    Attributes:
        text: without surrounding white space.
        tokens: text token ids.
        avg_logprob: mean log probability a token, ``<|endoftext|>`` included; 0.0 where there is no token.
        no_speech_prob: of ``<|nospeech|>`` at the start of the transcript.
        search: that it was found with.
        ended: whether the model ended it; otherwise the token limit did.
        speech_s: seconds of speech in the window, as far as is known; 0.0 where nothing was heard.
        echoes: it is a piece of the prompt.
        written: the tokens before a loop, or half a word, was cut off.
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

    @property
    def compression_ratio(self) -> float:
        return compression_ratio(self.text)

    @property
    def is_silence(self) -> bool:
        """The model doubts both that anybody speaks and what it wrote; or one doubt adds to that of the detection."""
        doubts_speech = self.no_speech_prob > NO_SPEECH_THRESHOLD
        doubts_text = self.avg_logprob < LOGPROB_THRESHOLD
        if self.speech_s == 0.0 and (doubts_speech or doubts_text):
            return True
        if self.no_speech_prob > SURE_NO_SPEECH and len(self.text.split()) <= FEW_WORDS:
            return True
        return doubts_speech and doubts_text

    @property
    def loops(self) -> bool:
        """It repeats itself, and more than somebody can have spoken."""
        if not self.ended and ends_in_loop(self.tokens):
            return True
        return is_repetitive(self.text) and not self._may_be_spoken

    @property
    def _may_be_spoken(self) -> bool:
        """People do say the same again and again: at the pace of speech, to an end, and the model is sure of it."""
        at_most = FASTEST_SPEECH * self.speech_s
        return self.ended and len(self.text) <= at_most and self.avg_logprob > SURE_LOGPROB

    @property
    def is_echo(self) -> bool:
        """It says what the prompt says, and there is little evidence that anybody spoke it."""
        doubted = self.no_speech_prob > ECHO_NO_SPEECH or self.avg_logprob < ECHO_LOGPROB
        return self.echoes and (doubted or self.loops or self.speech_s == 0.0)

    @property
    def needs_another(self) -> bool:
        """Worth another search."""
        if self.is_silence and not self.echoes:
            return False
        return self.is_echo or self.loops or self.avg_logprob < LOGPROB_THRESHOLD


def best_attempt(attempts: Sequence[Attempt]) -> Attempt:
    """The likeliest good attempt; where none is good the likeliest, if possible of those that neither echo nor loop."""
    good = [attempt for attempt in attempts if not attempt.needs_another]
    own = [attempt for attempt in attempts if not attempt.is_echo]
    fluent = [attempt for attempt in own if not attempt.loops]
    return max(good or fluent or own or attempts, key=lambda attempt: attempt.avg_logprob)
