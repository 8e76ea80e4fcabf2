"""Windows to transcribe, cut from decoded audio so that they end in pauses.

Neighbouring stretches of speech share a window as long as it holds them: the merge rule of WhisperX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deployments.mel.speech import Heard, Span
from deployments.shared.contracts import SpeechOptions, VoiceOptions, Window
from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.voice_chunks import CHUNK

MIN_WINDOW_S = 1.0
TAIL = 5 * SAMPLE_RATE  # samples: a last window shorter than this takes speech from its neighbour, as context
TAIL_PAUSE = 2 * SAMPLE_RATE  # samples: after a longer pause there is nothing to take
MIN_AUDIO = SAMPLE_RATE // 10  # samples: in 0.1 s and less nobody says a word
PADDING = 2 * SAMPLE_RATE // 5  # samples kept around speech: the VAD misses quiet consonants; 0.2 s lose first words


def find_windows(pcm: NDArray[np.int16], options: SpeechOptions) -> tuple[Window, ...]:
    """Return the windows to transcribe, in order, without overlap, each with the speech that was heard inside.

    Args:
        pcm: ``[n_samples]``, 16 kHz mono.
        options: with ``vad_filter``, the windows hold the speech, and there is none where nobody speaks. Without it,
            they cover the audio from start to end, cut at quiet places; only audio that is too short for a word has
            none.

    Raises:
        ValueError: ``max_window_s`` leaves no room for speech between its padding.
    """
    if options.max_window_s < MIN_WINDOW_S:
        raise ValueError(f"The longest window, max_window_s, must be at least {MIN_WINDOW_S:g} s")
    if len(pcm) <= MIN_AUDIO:
        return ()
    longest = int(options.max_window_s * SAMPLE_RATE)
    heard = Heard.listen(pcm, options.voice)
    if options.vad_filter:
        spans = _speech_windows(heard, longest, options.voice)
    else:
        spans = list(_cut((0, len(pcm)), longest, heard))
    return tuple(_window(index, span, heard.stretches) for index, span in enumerate(spans))


def windows_of_channels(pcm: NDArray[np.int16], options: SpeechOptions) -> tuple[Window, ...]:
    """Return the windows of a recording by their start, each of one channel.

    Args:
        pcm: ``[n_channels, n_samples]``, 16 kHz; one channel, unless they are kept separate.
        options: as for ``find_windows``.
    """
    if not options.audio.separate_channels:
        return find_windows(pcm.reshape(-1), options)
    windows = [
        replace(window, channel=number, first_sample=(number - 1) * pcm.shape[1])
        for number, channel in enumerate(pcm, start=1)
        for window in find_windows(channel, options)
    ]
    windows.sort(key=lambda window: window.start_s)
    return tuple(replace(window, index=index) for index, window in enumerate(windows))


def _window(index: int, span: Span, stretches: Sequence[Span]) -> Window:
    start, end = span
    inside = [(max(first, start), min(last, end)) for first, last in stretches if first < end and last > start]
    speech = tuple((first / SAMPLE_RATE, last / SAMPLE_RATE) for first, last in inside)
    return Window(index, start / SAMPLE_RATE, end / SAMPLE_RATE, speech)


def _speech_windows(heard: Heard, longest: int, voice: VoiceOptions) -> list[Span]:
    padding = _padding_before(voice, longest)
    room = longest - padding - PADDING
    pieces = [piece for stretch in heard.stretches for piece in _cut(stretch, room, heard)]
    return _merge(_pad(pieces, len(heard.pcm), padding), longest)


def _padding_before(voice: VoiceOptions, longest: int) -> int:
    """Return the samples kept before speech: never more than leave room for it."""
    if voice.padding_s is None:
        return PADDING
    return min(round(voice.padding_s * SAMPLE_RATE), longest // 4)


def _cut(span: Span, longest: int, heard: Heard) -> Iterator[Span]:
    """Cut a span of samples into pieces of at most ``longest``, each at the quietest place of its last third.

    The last piece is never very short: half a word, decoded without its context, gives a text that nobody said.
    """
    start, end = span
    tail = min(TAIL, longest // 4)
    while end - start > longest:
        cut = _quietest(heard, start + 2 * longest // 3, min(start + longest, end - tail))
        yield start, cut
        start = cut
    yield start, end


def _quietest(heard: Heard, earliest: int, latest: int) -> int:
    """Return the end of the chunk, between two samples, in which speech is least likely.

    Of several such chunks the least loud one counts, and of equally loud ones the last.
    """
    last = latest // CHUNK
    first = min(-(-earliest // CHUNK), last - 1)
    chunks = heard.pcm[first * CHUNK : last * CHUNK].reshape(-1, CHUNK)
    loudness = _smooth(np.einsum("ij,ij->i", chunks, chunks, dtype=np.float32))
    # In steps of a tenth: which of two chunks without speech has the lower probability says nothing.
    likelihood = np.round(_smooth(heard.probabilities[first:last]), 1)
    return CHUNK * (first + 1 + int(np.lexsort((-np.arange(last - first), loudness, likelihood))[0]))


def _smooth(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average each value with half of its neighbours: a dip of one chunk is a closed consonant, not a pause."""
    padded = np.pad(values, 1, mode="edge")
    return np.float32(0.25) * (padded[:-2] + padded[1:-1] + padded[1:-1] + padded[2:])


def _pad(stretches: Sequence[Span], n_samples: int, padding: int) -> list[Span]:
    """Widen each stretch by ``padding`` before it and ``PADDING`` behind it, or by half of a pause that is shorter."""
    starts = [start for start, _ in stretches]
    ends = [end for _, end in stretches]
    middles = [(end + start) // 2 for end, start in zip(ends, starts[1:], strict=False)]
    return [
        (max(start - padding, before), min(end + PADDING, after))
        for start, end, before, after in zip(starts, ends, [0, *middles], [*middles, n_samples], strict=False)
    ]


def _merge(spans: Sequence[Span], longest: int) -> list[Span]:
    """Join neighbours while one window holds them: WhisperX's ``merge_chunks``."""
    firsts: list[int] = []
    for i, (_, end) in enumerate(spans):
        if not firsts or end - spans[firsts[-1]][0] > longest:
            firsts.append(i)
    _lengthen_tail(firsts, spans, longest)
    return [(spans[first][0], spans[after - 1][1]) for first, after in pairwise([*firsts, len(spans)])]


def _lengthen_tail(firsts: list[int], spans: Sequence[Span], longest: int) -> None:
    """Begin a very short last window earlier, so that it is no mere tail any more.

    Args:
        firsts: index of each window's first span; changed in place.
        spans: all spans of speech, in samples.
        longest: samples of the longest window.
    """
    if len(firsts) < 2:  # noqa: PLR2004  (one window has no neighbour)
        return
    end, tail = spans[-1][1], min(TAIL, longest // 4)
    for first in range(firsts[-1], firsts[-2], -1):
        if end - spans[first][0] > longest:
            return
        firsts[-1] = first
        if end - spans[first][0] >= tail or spans[first][0] - spans[first - 1][1] > TAIL_PAUSE:
            return
