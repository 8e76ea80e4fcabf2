"""The encoder in ONNX Runtime on one execution provider."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from npu_encoder.backend import HEALTHY, AnyArrays, DeviceHealth, check_windows, encode_one_by_one, encode_silence
from npu_encoder.errors import DeviceError, EncoderError, ProviderError, UnsupportedPrecisionError
from npu_encoder.onnx.audio_encoder import INPUT, OUTPUT, build_encoder
from npu_encoder.weights import EncoderDimensions, read_weights

CPU_PROVIDER: Final = "CPUExecutionProvider"
SUFFIX: Final = "ExecutionProvider"
PRECISIONS: Final = ("auto", "f32")

MAX_COMPILED_LENGTHS: Final = 16
"""Each compiled length holds its own weights."""


class OnnxRuntimeBackend:
    """One static graph per window length, on a provider that has to compute all of it.

    ONNX Runtime gives what a provider cannot do to the CPU and says nothing. Here that is an error: the first run of
    each length is profiled, and every node has to have run where the operator said.

    Args:
        model_dir: CTranslate2 Whisper directory.
        provider: the name of the execution provider, as ONNX Runtime spells it.
        precision: ``f32``, or ``auto``, which is the same; a provider may round inside.
        threads: threads of the CPU provider that compute one window.

    Raises:
        ModelFormatError: if the directory holds no readable Whisper model.
        ProviderError: if this build of ONNX Runtime has no such provider.
        UnsupportedPrecisionError: if ``precision`` is another one.
    """

    def __init__(
        self, model_dir: Path, *, provider: str = CPU_PROVIDER, precision: str = "auto", threads: int = 1
    ) -> None:
        if precision not in PRECISIONS:
            raise UnsupportedPrecisionError(f"ONNX Runtime's precision is one of {PRECISIONS}, not {precision!r}")
        installed = ort.get_available_providers()
        if provider not in installed:
            raise ProviderError(
                f"This build of ONNX Runtime has no {provider}, only {', '.join(installed)}: install the build of your "
                "accelerator's vendor, or name another onnx_provider"
            )
        self._provider = provider
        self._threads = threads
        self._weights = read_weights(model_dir)
        self._compiled = lru_cache(MAX_COMPILED_LENGTHS)(self._compile)

    @property
    def device(self) -> str:
        return f"{self._provider.removesuffix(SUFFIX).lower()}:onnxruntime-f32"

    @property
    def dimensions(self) -> EncoderDimensions:
        return self._weights.dimensions

    @property
    def health(self) -> DeviceHealth:
        return HEALTHY

    def encode(self, log_mels: Sequence[NDArray[np.float32]], states: Sequence[NDArray[np.float32]]) -> str:
        check_windows(self.dimensions, log_mels, states)
        for log_mel, output in zip(log_mels, states, strict=True):
            session = self._compiled(log_mel.shape[1])
            try:
                (encoded,) = session.run([OUTPUT], {INPUT: log_mel[np.newaxis]})
            except RuntimeError as error:
                raise DeviceError(f"{self._provider} failed while it encoded a window: {error}") from error
            output[:] = encoded[0]
        return self.device

    def encode_each(
        self, waiting: Callable[[], AnyArrays | None], at_most: int
    ) -> Iterator[tuple[AnyArrays, str | EncoderError]]:
        del at_most
        yield from encode_one_by_one(self, waiting)

    def probe_device(self) -> None:
        """Do nothing: ONNX Runtime has no question that is cheaper than a window."""

    def warm_up(self, frames: Sequence[int]) -> None:
        encode_silence(self, frames)

    def close(self) -> None:
        self._compiled.cache_clear()

    def _compile(self, frames: int) -> ort.InferenceSession:
        model = build_encoder(self._weights, frames)
        with TemporaryDirectory() as directory:
            options = ort.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(directory) / "profile")
            session = ort.InferenceSession(model, options, providers=[self._provider])
            session.run([OUTPUT], {INPUT: np.zeros((1, self.dimensions.n_mels, frames), np.float32)})
            profile = Path(session.end_profiling()).read_text(encoding="utf-8")
        check_placement(profile, self._provider)
        return session


def check_placement(profile: str, provider: str) -> None:
    """Check that all nodes of a profiled run were computed by one provider.

    Args:
        profile: the JSON that ONNX Runtime writes.
        provider: the name of the provider.

    Raises:
        ProviderError: names the providers that computed, and some of the operators that should not have been theirs.
    """
    placed = Counter(
        (event["args"]["provider"], event["args"].get("op_name", ""))
        for event in json.loads(profile)
        if event.get("cat") == "Node" and "provider" in event.get("args", {})
    )
    elsewhere = {operator for found, operator in placed if found != provider}
    if placed and not elsewhere:
        return
    nodes = sum(count for (found, _), count in placed.items() if found != provider)
    raise ProviderError(
        f"{provider} does not compute the whole encoder: {nodes} of {placed.total()} nodes ran elsewhere "
        f"({', '.join(sorted(elsewhere)) or 'none was seen'}). This service never falls back silently: name another "
        f"onnx_provider, or {CPU_PROVIDER}"
    )
