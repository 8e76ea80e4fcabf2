"""When each word was spoken, from the decoder's cross-attention (openai/whisper's ``timing.py``).

``Whisper.align`` follows the attended encoder frames from token to token by dynamic time warping; here tokens become
words. One window at a time: CTranslate2 normalises attention over a batch's padding, so that a window's times would
depend on its neighbours, and a batch is slower (1.3 ms against 2 ms a window).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Final

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from deployments.contracts import Window, Word
from deployments.text.languages import WITHOUT_SPACES
from deployments.text.punctuation import OPENING_MARKS, ends_sentence

FRAMES_PER_S: Final = 50
"""Of encoder states: one each 20 ms, two mel frames."""

MEDIAN_FILTER_WIDTH: Final = 7
LONGEST_MEDIAN_S: Final = 0.7


@dataclass(slots=True)
class Span:
    """A run of tokens or a whole word; times in seconds from the start of the window."""

    text: str
    start_s: float
    end_s: float
    probability: float

    @property
    def is_spoken(self) -> bool:
        """Holds a letter or digit; punctuation takes the time of a pause, not of a word."""
        return any(character.isalnum() for character in self.text)


def word_times(
    model: Any, tokenizer: Any, states: NDArray[np.float16 | np.float32], tokens: tuple[int, ...], window: Window
) -> tuple[Word, ...]:
    """The words of one window with their times.

    Args:
        model: ``ctranslate2.models.Whisper``.
        tokenizer: faster-whisper's, for the language and task the text was generated with.
        states: encoder states ``[frames, d_model]``.
        tokens: text token ids, not empty.
        window: where the states come from; its length hides padding from the alignment.

    Returns:
        Words in order, without surrounding white space, punctuation attached; monotone and inside the window.
    """
    spans = _align(model, tokenizer, states, tokens, window.duration_s)
    words = join_words(spans, spaced=tokenizer.language_code not in WITHOUT_SPACES)
    cut_pauses(words)
    return tuple(
        Word(word.text, place(window, word.start_s), place(window, word.end_s), min(word.probability, 1.0))
        for word in words
        if word.text
    )


def place(window: Window, time_s: float) -> float:
    """Seconds from the start of the window -> from the start of the audio, to the millisecond, inside the window."""
    return min(max(round(window.start_s + time_s, 3), window.start_s), window.end_s)


def _align(
    model: Any, tokenizer: Any, states: NDArray[np.float16 | np.float32], tokens: tuple[int, ...], duration_s: float
) -> list[Span]:
    """Times of the shortest runs of tokens that decode to whole characters."""
    mel_frames = max(2, min(round(duration_s * 2 * FRAMES_PER_S), 2 * len(states)))
    result = model.align(
        ctranslate2.StorageView.from_array(np.stack([states], dtype=np.float32)),
        tokenizer.sot_sequence,
        [list(tokens)],
        mel_frames,
        median_filter_width=MEDIAN_FILTER_WIDTH,
    )[0]
    # The path visits each token, <|endoftext|> too; a token begins at the first frame it is paired with.
    path_tokens, path_frames = np.array(result.alignments).T
    texts, runs = tokenizer.split_tokens_on_unicode(list(tokens))
    bounds = np.cumsum([0, *map(len, runs)])
    times = path_frames[np.searchsorted(path_tokens, bounds)] / FRAMES_PER_S
    probabilities = np.add.reduceat(result.text_token_probs, bounds[:-1]) / np.diff(bounds)
    spans = zip(texts, times[:-1].tolist(), times[1:].tolist(), probabilities.tolist(), strict=True)
    return [Span(*span) for span in spans]


def join_words(spans: list[Span], *, spaced: bool) -> list[Span]:
    """Words: up to the next space, or single characters where a language has none, with their punctuation."""
    words: list[list[Span]] = []
    for span in spans:
        if words and not _begins_word(span, words[-1][-1], spaced=spaced):
            words[-1].append(span)
        else:
            words.append([span])
    return [_word(word) for word in words]


def _begins_word(span: Span, previous: Span, *, spaced: bool) -> bool:
    if spaced:
        return span.text[:1].isspace()
    if not previous.is_spoken and previous.text.strip()[-1:] in OPENING_MARKS:
        return False
    return span.is_spoken or span.text.strip() in OPENING_MARKS


def _word(spans: list[Span]) -> Span:
    timed = [span for span in spans if span.is_spoken] or spans
    return Span(
        text="".join(span.text for span in spans).strip(),
        start_s=timed[0].start_s,
        end_s=timed[-1].end_s,
        probability=fmean(span.probability for span in timed),
    )


def cut_pauses(words: list[Span]) -> None:
    """Take the pause off a sentence's first word, to which the alignment gives it (faster-whisper's rule)."""
    durations = [word.end_s - word.start_s for word in words if word.end_s > word.start_s]
    if not durations:
        return
    longest_s = 2 * min(LONGEST_MEDIAN_S, median(durations))
    previous = "."
    for word in words:
        if ends_sentence(previous):
            word.start_s = max(word.start_s, word.end_s - longest_s)
        previous = word.text
