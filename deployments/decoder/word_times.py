"""When each word was spoken, from the decoder's cross-attention (openai/whisper's ``timing.py``).

``Whisper.align`` follows the attended encoder frames from token to token by dynamic time warping; here tokens become
words. Each window is aligned alone: CTranslate2 normalises attention over a batch's padding, so a window's times would
depend on its neighbours, and a batch is slower (2 ms per window against 1.3 ms).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Final, NamedTuple

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from deployments.shared.contracts import TokenLogprob, Window, Word
from deployments.shared.languages import WITHOUT_SPACES
from deployments.shared.punctuation import OPENING_MARKS, ends_sentence

FRAMES_PER_S: Final = 50
"""Encoder states per second: one per 20 ms, or per two mel frames."""

MEDIAN_FILTER_WIDTH: Final = 7
LONGEST_MEDIAN_S: Final = 0.7

LEAST_WORD_S: Final = 0.02
"""Seconds of the shortest word: one frame of the encoder."""

SPEECH_MARGIN_S: Final = 0.2
"""Seconds around a stretch of speech that may belong to it: the voice detection misses quiet consonants."""

LEAST_PROBABILITY: Final = 1e-9
"""What a probability of 0 counts as where its logarithm is wanted."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Span:
    """A run of tokens, or a whole word, with its times in seconds from the start of the window.

    Attributes:
        probability: mean of its tokens.
        logprob: natural logarithm of the probability of a run; 0 for a word, where nobody asks for it.
    """

    text: str
    start_s: float
    end_s: float
    probability: float
    logprob: float = 0.0

    @property
    def is_spoken(self) -> bool:
        """Whether it holds a letter or digit; punctuation takes the time of a pause, not of a word."""
        return any(character.isalnum() for character in self.text)


class Alignment(NamedTuple):
    """The words of one window, in order, and the log probabilities of their tokens, if the text could be aligned."""

    words: list[Span]
    logprobs: tuple[TokenLogprob, ...]


def align(
    model: Any,
    tokenizer: Any,
    states: NDArray[np.float16 | np.float32],
    tokens: tuple[int, ...],
    window: Window,
    kept: int | None = None,
) -> Alignment:
    """Return the words of one window with their times, before these are adjusted for people to read.

    Args:
        model: ``ctranslate2.models.Whisper``.
        tokenizer: faster-whisper's, for the language and task the text was generated with.
        states: encoder states ``[frames, d_model]``.
        tokens: text token ids, not empty.
        window: where the states come from; its length hides padding from the alignment.
        kept: number of tokens at the beginning whose words are wanted; None for all. The other tokens are aligned too,
            or the last word would take their time.

    Returns:
        Words without surrounding white space, punctuation attached. Where the text cannot be aligned, they share the
        window evenly, with probability 0.
    """
    texts, runs = tokenizer.split_tokens_on_unicode(list(tokens))
    is_aligned = True
    try:
        spans = _align(model, tokenizer, states, texts, runs, window.duration_s)
    except (RuntimeError, ValueError) as error:
        logger.warning("The words of a text of %d tokens could not be aligned: %s", len(tokens), error)
        spans, is_aligned = _evenly(texts, window.duration_s), False
    inside = np.cumsum([0, *map(len, runs)])[:-1] < (len(tokens) if kept is None else kept)
    spans = [span for span, wanted in zip(spans, inside, strict=True) if wanted]
    words = [word for word in join_words(spans, spaced=is_spaced(tokenizer)) if word.text]
    logprobs = tuple(TokenLogprob(span.text, span.logprob) for span in spans)
    return Alignment(words, logprobs if is_aligned else ())


def is_spaced(tokenizer: Any) -> bool:
    """Return whether spaces separate the words of a text: a translation is English, whatever was spoken."""
    return tokenizer.task == tokenizer.translate or tokenizer.language_code not in WITHOUT_SPACES


def timed_words(spans: list[Span], window: Window) -> tuple[Word, ...]:
    """Return the words for the client: monotone, inside the window, none of zero length, none with a pause in it."""
    cut_pauses(spans)
    cut_to_speech(spans, window)
    make_room(spans, window.duration_s)
    return tuple(
        Word(word.text, place(window, word.start_s), place(window, word.end_s), min(word.probability, 1.0))
        for word in spans
    )


def cut_to_speech(words: list[Span], window: Window) -> None:
    """Shorten each word to its part in the stretch of speech that holds most of it, if it touches one."""
    stretches = [
        (start - window.start_s - SPEECH_MARGIN_S, end - window.start_s + SPEECH_MARGIN_S)
        for start, end in window.speech or ()
    ]
    for word in words:
        inside = [(max(start, word.start_s), min(end, word.end_s)) for start, end in stretches]
        start_s, end_s = max(inside, key=lambda span: span[1] - span[0], default=(0.0, 0.0))
        if end_s > start_s:
            word.start_s, word.end_s = start_s, end_s


def make_room(words: list[Span], duration_s: float) -> None:
    """Give every word ``LEAST_WORD_S``, or an even share of a window too short for that; neighbours give way."""
    least_s = min(LEAST_WORD_S, duration_s / max(1, len(words)))
    from_s = 0.0
    for word in words:
        word.start_s = max(word.start_s, from_s)
        word.end_s = from_s = max(word.end_s, word.start_s + least_s)
    until_s = duration_s
    for word in reversed(words):
        word.end_s = min(word.end_s, until_s)
        word.start_s = until_s = min(word.start_s, word.end_s - least_s)


def place(window: Window, time_s: float) -> float:
    """Turn seconds from the start of the window into seconds of the audio, to the millisecond, inside the window."""
    return min(max(round(window.start_s + time_s, 3), window.start_s), window.end_s)


def _align(
    model: Any,
    tokenizer: Any,
    states: NDArray[np.float16 | np.float32],
    texts: list[str],
    runs: list[list[int]],
    duration_s: float,
) -> list[Span]:
    """Return the times of ``runs``, the shortest runs of tokens that decode to whole characters, and of their texts."""
    mel_frames = max(2, min(round(duration_s * 2 * FRAMES_PER_S), 2 * len(states)))
    result = model.align(
        ctranslate2.StorageView.from_array(np.stack([states], dtype=np.float32)),
        tokenizer.sot_sequence,
        [[token for run in runs for token in run]],
        mel_frames,
        median_filter_width=MEDIAN_FILTER_WIDTH,
    )[0]
    if not result.alignments:
        raise ValueError("There is no path through the attention")
    # The path visits each token, <|endoftext|> too; a token begins at the first frame it is paired with.
    path_tokens, path_frames = np.array(result.alignments).T
    bounds = np.cumsum([0, *map(len, runs)])
    times = path_frames[np.searchsorted(path_tokens, bounds)] / FRAMES_PER_S
    of_tokens = np.array(result.text_token_probs)
    probabilities = np.add.reduceat(of_tokens, bounds[:-1]) / np.diff(bounds)
    logprobs = np.add.reduceat(np.log(np.clip(of_tokens, LEAST_PROBABILITY, 1.0)), bounds[:-1])
    columns = (times[:-1].tolist(), times[1:].tolist(), probabilities.tolist(), logprobs.tolist())
    return [Span(*span) for span in zip(texts, *columns, strict=True)]


def _evenly(texts: list[str], duration_s: float) -> list[Span]:
    share_s = duration_s / len(texts)
    return [Span(text, share_s * index, share_s * (index + 1), 0.0) for index, text in enumerate(texts)]


def join_words(spans: list[Span], *, spaced: bool) -> list[Span]:
    """Join runs to words: up to the next space, or single characters where a language has none, with punctuation."""
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
    """Take the pause before a sentence off its first word, to which the alignment gives it (faster-whisper's rule)."""
    durations = [word.end_s - word.start_s for word in words if word.end_s > word.start_s]
    if not durations:
        return
    longest_s = 2 * min(LONGEST_MEDIAN_S, median(durations))
    previous = "."
    for word in words:
        if ends_sentence(previous):
            word.start_s = max(word.start_s, word.end_s - longest_s)
        previous = word.text
