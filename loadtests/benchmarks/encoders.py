"""Measure the encoder's backends side by side, on one shape of Whisper.

``amanuensis bench encoders``: random weights of the shape of Whisper ``base``, a whole window of 30 s, one thread, in
turns; the states are compared with those that CTranslate2 computes in float32.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtests.benchmarks.parts.spread import spread
from loadtests.common.random_whisper import AUDIO_POSITIONS, N_MELS, SHAPES, Shape, random_spec
from npu_encoder.backend import EncoderBackend
from npu_encoder.loading import BackendName, load_backend

VOCABULARY = 64
FRAMES = 2 * AUDIO_POSITIONS
REFERENCE: tuple[BackendName, str] = ("ctranslate2", "float32")
CONTENDERS: tuple[tuple[BackendName, str], ...] = (
    REFERENCE,
    ("ctranslate2", "int8"),
    ("openvino", "f32"),
    ("openvino", "bf16"),
    ("onnxruntime", "f32"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shape", choices=list(SHAPES), default="base")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        _write_model(Path(directory), SHAPES[options.shape])
        backends = {
            contender: load_backend(
                Path(directory), backend=contender[0], precision=contender[1], threads=options.threads
            )
            for contender in CONTENDERS
        }
        log_mel = np.random.default_rng(0).uniform(-1, 1, (N_MELS, FRAMES)).astype(np.float32)
        states = {contender: _encode(backend, log_mel) for contender, backend in backends.items()}
        took_ms: dict[tuple[BackendName, str], list[float]] = defaultdict(list)
        for _ in range(options.rounds):
            for contender, backend in backends.items():
                began = time.perf_counter()
                _encode(backend, log_mel)
                took_ms[contender].append(1000 * (time.perf_counter() - began))
    print(f"{options.shape}-shaped, 30-s window, {options.threads} thread(s), {options.rounds} rounds\n")
    print("| backend | precision | ms/window | CTranslate2 int8 / this | worst cosine of a state |")
    print("| --- | --- | --- | --- | --- |")
    for contender, times in took_ms.items():
        ratios = [theirs / ours for theirs, ours in zip(took_ms["ctranslate2", "int8"], times, strict=True)]
        cosine = _worst_cosine(states[contender], states[REFERENCE])
        print(f"| {contender[0]} | {contender[1]} | {spread(times, 0)} | {spread(ratios, 2)} | {cosine:.5f} |")


def _write_model(directory: Path, shape: Shape) -> None:
    spec = random_spec(np.random.default_rng(0), VOCABULARY, shape)
    spec.register_vocabulary([f"token{number}" for number in range(VOCABULARY)])
    spec.config.suppress_ids = spec.config.suppress_ids_begin = spec.config.lang_ids = []
    spec.config.alignment_heads = [(0, 0)]
    spec.validate()
    spec.optimize()
    spec.save(str(directory))


def _encode(backend: EncoderBackend, log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
    states = np.empty((AUDIO_POSITIONS, backend.dimensions.d_model), np.float32)
    backend.encode([log_mel], [states])
    return states


def _worst_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / norms).min())


if __name__ == "__main__":
    main()
