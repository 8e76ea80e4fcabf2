"""Where somebody speaks: cuts audio into windows that end in pauses.

Silero VAD (the model bundled with faster-whisper) gives a probability of speech for every 32 ms. Neighbouring
stretches of speech share a window as long as it holds them, the merge rule of WhisperX.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.properties import hint, inference_num_threads, num_streams

from deployments.shared.contracts import SpeechOptions, Window
from deployments.shared.frames import SAMPLE_RATE

CHUNK = 512  # samples of one probability: 32 ms
SPEECH_THRESHOLD = 0.5  # speech begins at this probability ...
SILENCE_THRESHOLD = 0.35  # ... and ends below this one, as in Silero's own rule
MIN_SILENCE_CHUNKS = 10  # 0.32 s: a shorter pause does not end a stretch of speech
MIN_SPEECH_CHUNKS = 3  # 0.1 s: a shorter noise is no word
MIN_WINDOW_S = 1.0
TAIL = 5 * SAMPLE_RATE  # samples: a last window shorter than this takes speech from its neighbour, as context
TAIL_PAUSE = 2 * SAMPLE_RATE  # samples: after a longer pause there is nothing to take
MIN_AUDIO = SAMPLE_RATE // 10  # samples: in 0.1 s and less nobody says a word
PADDING = 2 * SAMPLE_RATE // 5  # samples kept around speech: the VAD misses quiet consonants; 0.2 s lose first words

SHORT_AUDIO = 2 * SAMPLE_RATE  # samples: in less than this the VAD may not have warmed up before the speech is over

_CONTEXT = 64  # samples of the previous chunk that the model sees as well
_BATCH = 32  # chunks of one inference: fixed, because OpenVINO compiles anew for every shape

_MEMORY = (("h", "hn"), ("c", "cn"))  # the LSTM's state, as the model calls it before and after a batch

Span = tuple[int, int]
"""Start and end, in chunks or in samples."""


class _Rule(NamedTuple):
    """When speech begins and ends; the shortest stretch that counts, in chunks."""

    begins: float
    ends: float
    min_chunks: int


RULE = _Rule(SPEECH_THRESHOLD, SILENCE_THRESHOLD, MIN_SPEECH_CHUNKS)
SHORT_RULE = _Rule(begins=0.4, ends=0.25, min_chunks=4)

_thread = threading.local()


def find_windows(pcm: NDArray[np.int16], options: SpeechOptions) -> tuple[Window, ...]:
    """The windows to transcribe, in order, without overlap, each with the speech that was heard inside.

    Args:
        pcm: ``[n_samples]``, 16 kHz mono.
        options: with ``vad_filter`` on, windows hold the speech, and there is none where nobody speaks. With it off
            they cover the audio from start to end, cut at quiet places, and there is none where the audio is too short
            for a word.

    Raises:
        ValueError: ``max_window_s`` leaves no room for speech between its padding.
    """
    if options.max_window_s < MIN_WINDOW_S:
        raise ValueError(f"max_window_s must be at least {MIN_WINDOW_S:g} s")
    if len(pcm) <= MIN_AUDIO:
        return ()
    longest = int(options.max_window_s * SAMPLE_RATE)
    heard = _Heard.listen(pcm)
    spans = _speech_windows(heard, longest) if options.vad_filter else list(_cut((0, len(pcm)), longest, heard))
    return tuple(_window(index, span, heard.stretches) for index, span in enumerate(spans))


def speech_probabilities(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """The probability of speech in every 512 samples: ``[ceil(n_samples / 512)]``, the last one padded with silence.

    Equal to faster-whisper's ``SileroVADModel`` within 1e-5, in less than half its time: OpenVINO computes the
    convolutions of many short chunks together, ONNX Runtime one after the other. Memory does not grow with the audio.
    """
    return _detector().probabilities(pcm)


class _Heard(NamedTuple):
    """What the voice detection made of the audio.

    Attributes:
        pcm: ``[n_samples]``, 16 kHz mono.
        probabilities: of speech, ``[ceil(n_samples / 512)]``.
        stretches: of speech, in samples, in order.
    """

    pcm: NDArray[np.int16]
    probabilities: NDArray[np.float32]
    stretches: list[Span]

    @classmethod
    def listen(cls, pcm: NDArray[np.int16]) -> _Heard:
        probabilities = speech_probabilities(pcm)
        stretches = _in_samples(_stretches(probabilities.tolist(), RULE), len(pcm))
        if not stretches and len(pcm) <= SHORT_AUDIO and _is_a_word(pcm):
            stretches = [(0, len(pcm))]
        return cls(pcm, probabilities, stretches)


def _is_a_word(pcm: NDArray[np.int16]) -> bool:
    """Whether short audio in which nothing was heard holds speech after all.

    The model remembers what it heard, so it hears the audio twice: the first time serves as the context that speech at
    the very beginning lacks. The answer says whether somebody speaks, not where.
    """
    padded = np.pad(pcm, (0, -len(pcm) % CHUNK))
    first, second = np.split(speech_probabilities(np.concatenate([padded, padded])), 2)
    return any(_stretches(np.maximum(first, second).tolist(), SHORT_RULE))


def _window(index: int, span: Span, stretches: Sequence[Span]) -> Window:
    start, end = span
    inside = [(max(first, start), min(last, end)) for first, last in stretches if first < end and last > start]
    speech = tuple((first / SAMPLE_RATE, last / SAMPLE_RATE) for first, last in inside)
    return Window(index, start / SAMPLE_RATE, end / SAMPLE_RATE, speech)


def _speech_windows(heard: _Heard, longest: int) -> list[Span]:
    pieces = [piece for stretch in heard.stretches for piece in _cut(stretch, longest - 2 * PADDING, heard)]
    return _merge(_pad(pieces, len(heard.pcm)), longest)


def _stretches(probabilities: Sequence[float], rule: _Rule) -> Iterator[Span]:
    """Stretches of speech in chunks, by Silero's hysteresis, without those too short for a word."""
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
            if i + 1 - quiet_since >= MIN_SILENCE_CHUNKS:
                yield start, quiet_since
                start = quiet_since = None
    if start is not None:
        yield start, len(probabilities) if quiet_since is None else quiet_since


def _in_samples(stretches: Iterator[Span], n_samples: int) -> list[Span]:
    return [(start * CHUNK, min(end * CHUNK, n_samples)) for start, end in stretches]


def _cut(span: Span, longest: int, heard: _Heard) -> Iterator[Span]:
    """Pieces of a span of samples, none longer than ``longest``: cut at the quietest place of its last third.

    What is left for the last piece is never a mere tail: half a word, decoded for itself, gives a text that nobody
    said.
    """
    start, end = span
    tail = min(TAIL, longest // 4)
    while end - start > longest:
        cut = _quietest(heard, start + 2 * longest // 3, min(start + longest, end - tail))
        yield start, cut
        start = cut
    yield start, end


def _quietest(heard: _Heard, earliest: int, latest: int) -> int:
    """The end of the chunk between two samples where speech is least likely; the least loud of those, or the last."""
    last = latest // CHUNK
    first = min(-(-earliest // CHUNK), last - 1)
    chunks = heard.pcm[first * CHUNK : last * CHUNK].reshape(-1, CHUNK)
    loudness = _smooth(np.einsum("ij,ij->i", chunks, chunks, dtype=np.float32))
    # In steps of a tenth: which of two chunks without speech has the lower probability says nothing.
    likelihood = np.round(_smooth(heard.probabilities[first:last]), 1)
    return CHUNK * (first + 1 + int(np.lexsort((-np.arange(last - first), loudness, likelihood))[0]))


def _smooth(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each value with a half of its neighbours: a dip of one chunk is a closed consonant, not a pause."""
    padded = np.pad(values, 1, mode="edge")
    return np.float32(0.25) * (padded[:-2] + padded[1:-1] + padded[1:-1] + padded[2:])


def _pad(stretches: Sequence[Span], n_samples: int) -> list[Span]:
    """Stretches wider by ``PADDING`` at both ends, or by half of a pause shorter than two of them."""
    starts = [start for start, _ in stretches]
    ends = [end for _, end in stretches]
    middles = [(end + start) // 2 for end, start in zip(ends, starts[1:], strict=False)]
    return [
        (max(start - PADDING, before), min(end + PADDING, after))
        for start, end, before, after in zip(starts, ends, [0, *middles], [*middles, n_samples], strict=False)
    ]


def _merge(spans: Sequence[Span], longest: int) -> list[Span]:
    """Join neighbours while a window holds them: WhisperX's ``merge_chunks``."""
    firsts: list[int] = []
    for i, (_, end) in enumerate(spans):
        if not firsts or end - spans[firsts[-1]][0] > longest:
            firsts.append(i)
    _lengthen_tail(firsts, spans, longest)
    return [(spans[first][0], spans[after - 1][1]) for first, after in pairwise([*firsts, len(spans)])]


def _lengthen_tail(firsts: list[int], spans: Sequence[Span], longest: int) -> None:
    """Move the beginning of a very short last window back to where it is no tail any more.

    Args:
        firsts: index of each window's first span.
        spans: of speech.
        longest: no window is longer; in samples.
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


class _Detector:
    """Silero VAD for one thread: an inference request and the arrays it reads and writes."""

    def __init__(self) -> None:
        self.request = _compiled_model().create_infer_request()
        self.signal = np.zeros(_CONTEXT + _BATCH * CHUNK, np.float32)
        self.chunks = np.lib.stride_tricks.sliding_window_view(self.signal, _CONTEXT + CHUNK)[::CHUNK]
        self.input = self.request.get_tensor("input").data
        # The LSTM's memory goes from one batch to the next.
        self.memory = tuple((self.request.get_tensor(i).data, self.request.get_tensor(o).data) for i, o in _MEMORY)
        self.output = self.request.get_tensor("speech_probs").data

    def probabilities(self, pcm: NDArray[np.int16]) -> NDArray[np.float32]:
        self.signal[:] = 0.0
        for before, _ in self.memory:
            before[:] = 0.0
        result = np.empty(-(-len(pcm) // CHUNK), np.float32)
        for first in range(0, len(result), _BATCH):
            self._hear(pcm[first * CHUNK : (first + _BATCH) * CHUNK])
            result[first : first + _BATCH] = self.output[: len(result) - first]
        return result

    def _hear(self, samples: NDArray[np.int16]) -> None:
        """Run the model on the next batch; a short one is followed by silence."""
        self.signal[:_CONTEXT] = self.signal[-_CONTEXT:]
        heard = self.signal[_CONTEXT:]
        np.multiply(samples, np.float32(1 / 32768), out=heard[: len(samples)])
        heard[len(samples) :] = 0.0
        self.input[:] = self.chunks
        self.request.infer()
        for before, after in self.memory:
            before[:] = after


def _model_file() -> Path:
    """Of faster-whisper, which is not imported for it: CTranslate2 would come along, into every replica."""
    package = importlib.util.find_spec("faster_whisper")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("faster-whisper, which brings the model of the voice detection, is not installed")
    return Path(package.origin).parent / "assets" / "silero_vad_v6.onnx"


@functools.cache
def _compiled_model() -> Any:
    """Silero VAD for batches of chunks, compiled for one CPU thread in full precision."""
    core = openvino.Core()
    model = core.read_model(_model_file())
    model.reshape({"input": [_BATCH, _CONTEXT + CHUNK]})
    settings = {
        inference_num_threads: 1,
        num_streams: 1,
        hint.inference_precision: "f32",
        # Other processes share these cores: the scheduler knows better where to run.
        hint.enable_cpu_pinning: False,
    }
    return core.compile_model(model, "CPU", settings)


def _detector() -> _Detector:
    """This thread's detector."""
    if not hasattr(_thread, "detector"):
        _thread.detector = _Detector()
    detector: _Detector = _thread.detector
    return detector
