"""Where in the audio somebody speaks: stretches of speech, made of the probabilities of the voice detection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deployments.mel.voice_detection import speech_probabilities
from deployments.shared.contracts import VoiceOptions
from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.voice_chunks import CHUNK

SPEECH_THRESHOLD = 0.5  # speech begins at this probability ...
HYSTERESIS = 0.15  # ... and ends where it is less than that by this, as in Silero's own rule
LEAST_THRESHOLD = 0.01  # below which speech ends whatever the threshold
MIN_SILENCE_CHUNKS = 10  # 0.32 s: a shorter pause does not end a stretch of speech
MIN_SPEECH_CHUNKS = 3  # 0.1 s: a shorter noise is no word

SHORT_AUDIO = 2 * SAMPLE_RATE  # samples: in less than this the VAD may not have warmed up before the speech is over

Span: TypeAlias = tuple[int, int]
"""Start and end, in chunks or in samples."""


class _Rule(NamedTuple):
    """The probabilities at which speech begins and ends, the shortest stretch that counts and the shortest pause that
    ends one, in chunks.
    """

    begins: float
    ends: float
    min_chunks: int
    min_silence: int

    @classmethod
    def of(cls, voice: VoiceOptions) -> _Rule:
        begins = SPEECH_THRESHOLD if voice.threshold is None else voice.threshold
        silence = MIN_SILENCE_CHUNKS if voice.silence_s is None else ceil(voice.silence_s * SAMPLE_RATE / CHUNK)
        return cls(begins, max(begins - HYSTERESIS, LEAST_THRESHOLD), MIN_SPEECH_CHUNKS, max(silence, 1))


SHORT_RULE = _Rule(begins=0.4, ends=0.25, min_chunks=4, min_silence=MIN_SILENCE_CHUNKS)


class Heard(NamedTuple):
    """Audio, and what the voice detection heard in it.

    Attributes:
        pcm: ``[n_samples]``, 16 kHz mono.
        probabilities: probability of speech per chunk, ``[ceil(n_samples / 512)]``.
        stretches: stretches of speech, in samples, in order.
    """

    pcm: NDArray[np.int16]
    probabilities: NDArray[np.float32]
    stretches: list[Span]

    @classmethod
    def listen(cls, pcm: NDArray[np.int16], voice: VoiceOptions) -> Heard:
        """Run the voice detection over ``pcm``."""
        probabilities = speech_probabilities(pcm)
        stretches = _in_samples(_stretches(probabilities.tolist(), _Rule.of(voice)), len(pcm))
        may_be_a_word = voice.threshold is None and len(pcm) <= SHORT_AUDIO
        if not stretches and may_be_a_word and _is_a_word(pcm):
            stretches = [(0, len(pcm))]
        return cls(pcm, probabilities, stretches)


def _is_a_word(pcm: NDArray[np.int16]) -> bool:
    """Return whether short audio in which nothing was heard holds speech after all.

    The model remembers what it heard, so it hears the audio twice: the first time serves as the context that speech at
    the very beginning lacks. The answer says whether somebody speaks, not where.
    """
    padded = np.pad(pcm, (0, -len(pcm) % CHUNK))
    first, second = np.split(speech_probabilities(np.concatenate([padded, padded])), 2)
    return any(_stretches(np.maximum(first, second).tolist(), SHORT_RULE))


def _stretches(probabilities: Sequence[float], rule: _Rule) -> Iterator[Span]:
    """Yield the stretches of speech in chunks, by Silero's hysteresis, without those too short for a word."""
    for start, end in _all_stretches(probabilities, rule):
        if end - start >= rule.min_chunks:
            yield start, end


def _all_stretches(probabilities: Sequence[float], rule: _Rule) -> Iterator[Span]:
    start: int | None = None
    quiet_since: int | None = None
    for i, probability in enumerate(probabilities):
        if probability >= rule.begins:
            start = i if start is None else start
            quiet_since = None
        elif start is not None and probability < rule.ends:
            quiet_since = i if quiet_since is None else quiet_since
            if i + 1 - quiet_since >= rule.min_silence:
                yield start, quiet_since
                start = quiet_since = None
    if start is not None:
        yield start, len(probabilities) if quiet_since is None else quiet_since


def _in_samples(stretches: Iterator[Span], n_samples: int) -> list[Span]:
    return [(start * CHUNK, min(end * CHUNK, n_samples)) for start, end in stretches]
