"""Where somebody speaks: cuts audio into windows that end in pauses.

Silero VAD (the model bundled with faster-whisper) gives a probability of speech for every 32 ms. Neighbouring
stretches of speech share a window as long as it holds them, the merge rule of WhisperX.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.properties import hint, inference_num_threads, num_streams

from deployments.audio import SAMPLE_RATE
from deployments.contracts import SpeechOptions, Window

CHUNK = 512  # samples of one probability: 32 ms
SPEECH_THRESHOLD = 0.5  # speech begins at this probability ...
SILENCE_THRESHOLD = 0.35  # ... and ends below this one, as in Silero's own rule
MIN_SILENCE_CHUNKS = 10  # 0.32 s: a shorter pause does not end a stretch of speech
MIN_SPEECH_CHUNKS = 3  # 0.1 s: a shorter noise is no word
MIN_WINDOW_S = 1.0
PADDING = SAMPLE_RATE // 5  # samples kept around speech: the VAD misses quiet consonants

_CONTEXT = 64  # samples of the previous chunk that the model sees as well
_BATCH = 32  # chunks of one inference: fixed, because OpenVINO compiles anew for every shape

_MEMORY = (("h", "hn"), ("c", "cn"))  # the LSTM's state, as the model calls it before and after a batch

Span = tuple[int, int]
"""Start and end, in chunks or in samples."""

_thread = threading.local()


def find_windows(pcm: NDArray[np.int16], options: SpeechOptions) -> tuple[Window, ...]:
    """The windows of speech, in order, without overlap; none where nobody speaks.

    Args:
        pcm: ``[n_samples]``, 16 kHz mono.
        options: with ``vad_filter`` off, windows of ``max_window_s`` cover the audio from start to end.

    Raises:
        ValueError: ``max_window_s`` leaves no room for speech between its padding.
    """
    if options.max_window_s < MIN_WINDOW_S:
        raise ValueError(f"max_window_s must be at least {MIN_WINDOW_S:g} s")
    longest = int(options.max_window_s * SAMPLE_RATE)
    spans = _speech_windows(pcm, longest) if options.vad_filter else _fixed_windows(len(pcm), longest)
    return tuple(Window(index, start / SAMPLE_RATE, end / SAMPLE_RATE) for index, (start, end) in enumerate(spans))


def window_samples(pcm: NDArray[np.int16], window: Window) -> NDArray[np.int16]:
    """The samples of one window: a view, no copy."""
    return pcm[round(window.start_s * SAMPLE_RATE) : round(window.end_s * SAMPLE_RATE)]


def speech_probabilities(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """The probability of speech in every 512 samples: ``[ceil(n_samples / 512)]``, the last one padded with silence.

    Equal to faster-whisper's ``SileroVADModel`` within 1e-5, in less than half its time: OpenVINO computes the
    convolutions of many short chunks together, ONNX Runtime one after the other. Memory does not grow with the audio.
    """
    return _detector().probabilities(pcm)


def _fixed_windows(n_samples: int, longest: int) -> list[Span]:
    return [(start, min(start + longest, n_samples)) for start in range(0, n_samples, longest)]


def _speech_windows(pcm: NDArray[np.int16], longest: int) -> list[Span]:
    probabilities = speech_probabilities(pcm)
    longest_chunks = (longest - 2 * PADDING) // CHUNK
    pieces = [
        piece
        for start, end in _stretches(probabilities.tolist())
        if end - start >= MIN_SPEECH_CHUNKS
        for piece in _split((start, end), probabilities, longest_chunks)
    ]
    return _merge(_pad(pieces, len(pcm)), longest)


def _stretches(probabilities: Sequence[float]) -> Iterator[Span]:
    """Stretches of speech in chunks, by Silero's hysteresis."""
    start: int | None = None
    quiet_since: int | None = None
    for i, probability in enumerate(probabilities):
        if probability >= SPEECH_THRESHOLD:
            start = i if start is None else start
            quiet_since = None
        elif start is not None and probability < SILENCE_THRESHOLD:
            quiet_since = i if quiet_since is None else quiet_since
            if i + 1 - quiet_since >= MIN_SILENCE_CHUNKS:
                yield start, quiet_since
                start = quiet_since = None
    if start is not None:
        yield start, len(probabilities) if quiet_since is None else quiet_since


def _split(stretch: Span, probabilities: NDArray[np.float32], longest: int) -> Iterator[Span]:
    """Cut a stretch that no window holds where speech is least likely, late in the longest possible piece."""
    start, end = stretch
    while end - start > longest:
        earliest = start + longest // 2
        cut = earliest + int(probabilities[earliest : start + longest].argmin()) + 1
        yield start, cut
        start = cut
    yield start, end


def _pad(stretches: Sequence[Span], n_samples: int) -> list[Span]:
    """From chunks to samples, wider by ``PADDING`` at both ends, or by half of a pause shorter than two of them."""
    starts = [start * CHUNK for start, _ in stretches]
    ends = [min(end * CHUNK, n_samples) for _, end in stretches]
    middles = [(end + start) // 2 for end, start in zip(ends, starts[1:], strict=False)]
    return [
        (max(start - PADDING, before), min(end + PADDING, after))
        for start, end, before, after in zip(starts, ends, [0, *middles], [*middles, n_samples], strict=False)
    ]


def _merge(spans: Sequence[Span], longest: int) -> list[Span]:
    """Join neighbours while a window holds them: WhisperX's ``merge_chunks``."""
    windows: list[Span] = []
    for start, end in spans:
        if windows and end - windows[-1][0] <= longest:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return windows


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
