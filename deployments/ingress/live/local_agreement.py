"""Which words of a growing utterance are sure: those on which two transcriptions in a row agree, or one is sure of.

This is LocalAgreement-2, as whisper_streaming has it (Macháček et al., 2023), and less waiting where the model itself
is in no doubt. A stable word never changes again, so the text only grows. Later transcriptions are laid over the stable
words by the least edit distance, without case and punctuation; where they disagree about a stable word, that word
stays, and what follows it is taken from them.

The punctuation behind a stable word is not stable before the next word is: a sentence may still go on. Where the audio
ends in the middle of speech, its last word may be cut, and two transcriptions agree on a word that nobody said ("tube"
for "two p..."): it takes a third one, or a word behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from deployments.ingress.live.words import (
    aligned_length,
    bare,
    common_length,
    split_words,
    without_marks_behind,
    word_logprobs,
)
from deployments.ingress.transcript.joining import separator
from deployments.shared.contracts import TokenLogprob

SURE: Final = -0.3
"""Log probability of its least likely token above which a word is believed without a second transcription."""

SURE_AT_CUT: Final = -0.05
"""The same for the last word of audio that ends in the middle of speech, and maybe of this word."""


class _Rest(NamedTuple):
    """What a transcription says beyond the stable words.

    Attributes:
        before: stands between the last stable word and the first one of these.
        words: as ``split_words`` gives them.
    """

    before: str
    words: list[str]


class LocalAgreement:
    """The text of one utterance while it grows.

    Attributes:
        stable: the text so far; it only grows.
    """

    def __init__(self) -> None:
        self.stable = ""
        self._stable_words: list[str] = []
        self._doubtful: list[str] = []
        self._is_last_agreed = False
        self._left = 0

    @property
    def words(self) -> int:
        """Number of the words of the last transcription: the stable ones and the others."""
        return self.stable_words + len(self._doubtful)

    @property
    def stable_words(self) -> int:
        """Number of the stable words, of those that transcriptions still begin with."""
        return len(self._stable_words) - self._left

    def leave(self, count: int) -> None:
        """Expect transcriptions without the first ``count`` of these from now on; at least one more is stable."""
        self._left += count

    def add(self, text: str, *, may_be_cut: bool, tokens: Sequence[TokenLogprob] = ()) -> str:
        """Return what becomes stable by another transcription of the utterance so far; empty if nothing does.

        Args:
            text: the transcription.
            may_be_cut: whether its audio ends in the middle of speech.
            tokens: of the transcription; empty where nobody knows how sure they are.
        """
        rest = self._rest_of(text)
        words = [bare(word) for word in rest.words]
        agreed = common_length(self._doubtful, words)
        is_third = self._is_last_agreed and agreed == 1
        self._is_last_agreed = may_be_cut and 0 < agreed == len(words) and not is_third
        agreed -= self._is_last_agreed
        agreed += _count_sure(_logprobs_of_last(len(words), text, tokens)[agreed:], may_be_cut=may_be_cut)
        self._doubtful = words[agreed:]
        if not agreed:
            return ""
        self._stable_words += words[:agreed]
        return self._grow(without_marks_behind(rest.before + "".join(rest.words[:agreed])))

    def finish(self, text: str) -> str:
        """Return what the transcription of the whole utterance adds to the stable text."""
        self._left = 0
        rest = self._rest_of(text)
        return self._grow(rest.before + "".join(rest.words))

    def _grow(self, more: str) -> str:
        self.stable += more
        return more

    def _rest_of(self, text: str) -> _Rest:
        words = split_words(text.strip())
        if not self._stable_words:
            return _Rest("", words)
        length = aligned_length(self._stable_words[self._left :], [bare(word) for word in words])
        following = words[length:]
        if length:
            last = words[length - 1]
            return _Rest(last[len(without_marks_behind(last)) :], following)
        return _Rest(separator(self.stable, following[0]) if following else "", following)


def _logprobs_of_last(count: int, text: str, tokens: Sequence[TokenLogprob]) -> list[float]:
    """Return how sure the last words of a transcription are."""
    words = split_words(text.strip())
    return word_logprobs(words, tokens)[len(words) - count :]


def _count_sure(logprobs: Sequence[float], *, may_be_cut: bool) -> int:
    """Return how many words from the first on are sure.

    Args:
        logprobs: how sure each of the last words of a transcription is.
        may_be_cut: whether the last one may be cut.
    """
    for index, logprob in enumerate(logprobs):
        is_cut = may_be_cut and index == len(logprobs) - 1
        if logprob <= (SURE_AT_CUT if is_cut else SURE):
            return index
    return len(logprobs)
