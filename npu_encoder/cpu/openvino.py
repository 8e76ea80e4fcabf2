"""The encoder on the CPU with OpenVINO."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from typing import Generic

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from npu_encoder.backend import HEALTHY, AnyArrays, DeviceHealth, check_windows, encode_one_by_one, encode_silence
from npu_encoder.errors import EncoderError
from npu_encoder.graphs.audio_encoder import build_encoder
from npu_encoder.graphs.compile import compile_graph, resolve_precision
from npu_encoder.weights import EncoderDimensions, read_weights

MAX_COMPILED_LENGTHS = 16
"""Each compiled length holds its own packed weights: about 15 MB for 2 M parameters, 52 MB for Whisper base."""

POLL_MS = 2
"""Milliseconds to wait for one of the windows in progress before looking at the next."""


@dataclass(frozen=True, slots=True)
class _Running(Generic[AnyArrays]):
    """A window in progress, with the memory that its inference reads."""

    window: AnyArrays
    log_mel: NDArray[np.float32]
    request: ov.InferRequest


class OpenVinoBackend:
    """The encoder in OpenVINO: one static graph per window length, compiled when the length is first met.

    For 0.1 s and the memory below, a window of 4 s takes 1.6 times less than in one graph of dynamic length, which
    has to be fitted anew whenever the length changes. The most recently used lengths stay compiled.

    Each thread encodes one window after the other: a batch in one inference gains next to nothing on a CPU,
    and two threads in one short window cost 1.6 times the CPU time.

    Args:
        model_dir: CTranslate2 Whisper directory.
        precision: ``bf16``, ``f32``, or ``auto``: bf16 where the CPU has instructions for it, else f32.
        threads: windows encoded at the same time, each in one thread; at least 1.
        silence: the file that stands for the silence behind a window of less than 30 s; None if there is none.

    Raises:
        ModelFormatError: if the directory holds no readable Whisper model, or ``silence`` belongs to another one.
        UnsupportedPrecisionError: if this CPU cannot compute in ``precision``.
    """

    def __init__(
        self, model_dir: Path, *, precision: str = "auto", threads: int = 1, silence: Path | None = None
    ) -> None:
        self._core = ov.Core()
        self._precision = resolve_precision(self._core, precision)
        self._weights = read_weights(model_dir, silence)
        self._threads = threads
        self._compiled = lru_cache(MAX_COMPILED_LENGTHS)(self._compile)

    @property
    def device(self) -> str:
        return f"cpu:openvino-{self._precision}"

    @property
    def dimensions(self) -> EncoderDimensions:
        return self._weights.dimensions

    @property
    def health(self) -> DeviceHealth:
        return HEALTHY

    def encode(self, log_mels: Sequence[NDArray[np.float32]], states: Sequence[NDArray[np.float32]]) -> str:
        check_windows(self.dimensions, log_mels, states)
        # OpenVINO shares only writeable memory and does not keep it alive; this list does.
        inputs = [np.require(log_mel, requirements="W") for log_mel in log_mels]
        running: deque[ov.InferRequest] = deque()
        with ExitStack() as unfinished:
            for log_mel, output in zip(inputs, states, strict=True):
                if len(running) == self._threads:
                    running.popleft().wait()
                request = self._start(log_mel, output)
                running.append(request)
                # Nobody may write into the arrays once this call is over, also when one window fails.
                unfinished.callback(request.wait)
        return self.device

    def encode_each(
        self, waiting: Callable[[], AnyArrays | None], at_most: int
    ) -> Iterator[tuple[AnyArrays, str | EncoderError]]:
        if self._threads == 1:
            yield from encode_one_by_one(self, waiting)
            return
        running: list[_Running[AnyArrays]] = []
        try:
            while True:
                yield from self._fill(running, waiting, at_most)
                if not running:
                    return
                yield _take_done(running).window, self.device
        finally:
            # Nobody may write into the arrays once this is over, also when one window fails.
            for item in running:
                item.request.wait()

    def _fill(
        self, running: list[_Running[AnyArrays]], waiting: Callable[[], AnyArrays | None], at_most: int
    ) -> Iterator[tuple[AnyArrays, EncoderError]]:
        """Begin windows while a thread is free; yield those that do not fit the model."""
        while len(running) < min(at_most, self._threads) and (window := waiting()) is not None:
            try:
                check_windows(self.dimensions, [window.log_mel], [window.states])
            except EncoderError as error:
                yield window, error
                continue
            # OpenVINO shares only writeable memory and does not keep it alive: ``running`` does.
            log_mel = np.require(window.log_mel, requirements="W")
            running.append(_Running(window, log_mel, self._start(log_mel, window.states)))

    def probe_device(self) -> None:
        """Do nothing: if the CPU did not work, nobody could ask."""

    def warm_up(self, frames: Sequence[int]) -> None:
        encode_silence(self, frames)

    def close(self) -> None:
        self._compiled.cache_clear()

    def _start(self, log_mel: NDArray[np.float32], states: NDArray[np.float32]) -> ov.InferRequest:
        # A new request costs 7 us and, unlike a kept one, holds no reference to the caller's memory afterwards.
        request = self._compiled(log_mel.shape[1]).create_infer_request()
        request.set_input_tensor(ov.Tensor(log_mel, shared_memory=True))
        request.set_output_tensor(ov.Tensor(states, shared_memory=True))
        request.start_async()
        return request

    def _compile(self, frames: int) -> ov.CompiledModel:
        graph = build_encoder(self._weights, frames)
        return compile_graph(self._core, graph, precision=self._precision, threads=self._threads)


def _take_done(running: list[_Running[AnyArrays]]) -> _Running[AnyArrays]:
    """Wait for the first window that is done, take it off those in progress, and return it."""
    done = next(item for item in cycle(running) if item.request.wait_for(POLL_MS))
    running.remove(done)
    return done
