"""The peers that the service is measured against, each in one process, one clip at a time, with the demo model.

``python -m loadtests.benchmarks.parts.peers NAME SECONDS`` prints one JSON line: how many clips it transcribed, the
seconds and CPU seconds that this took, and the text of each clip.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

from loadtests.common.clips import Clip, clips
from loadtests.common.paths import DEMO_MODEL

MODEL = str(DEMO_MODEL)
THREADS = 2
WARM_UP = 3

Transcribe = Callable[[Clip], str]


def whisperx() -> Transcribe:
    """Load WhisperX's pipeline with its own (bundled) voice activity detection, greedy."""
    from whisperx.asr import load_model  # noqa: PLC0415  (15 s of CPU, for this peer only)

    options = {"beam_size": 1, "suppress_tokens": [-1]}
    pipeline: Any = load_model(
        MODEL, "cpu", compute_type="int8", language="en", asr_options=options, threads=THREADS, vad_method="pyannote"
    )

    def transcribe(clip: Clip) -> str:
        segments = pipeline.transcribe(_decoded(clip), batch_size=8)["segments"]
        return " ".join(segment["text"].strip() for segment in segments)

    return transcribe


def faster_whisper() -> Transcribe:
    """Load faster-whisper's sequential transcription, greedy, with its voice activity filter."""
    model: Any = WhisperModel(MODEL, device="cpu", compute_type="int8", cpu_threads=THREADS)
    return lambda clip: _joined(model.transcribe(_decoded(clip), **OPTIONS)[0])


def faster_whisper_batched() -> Transcribe:
    """Load faster-whisper's batched pipeline, which batches the windows of one file: short clips gain little."""
    model: Any = WhisperModel(MODEL, device="cpu", compute_type="int8", cpu_threads=THREADS)
    pipeline: Any = BatchedInferencePipeline(model)
    return lambda clip: _joined(pipeline.transcribe(_decoded(clip), batch_size=8, **OPTIONS)[0])


OPTIONS: dict[str, Any] = {"language": "en", "beam_size": 1, "without_timestamps": True, "vad_filter": True}
PEERS: dict[str, Callable[[], Transcribe]] = {
    "whisperx": whisperx,
    "faster-whisper": faster_whisper,
    "faster-whisper-batched": faster_whisper_batched,
}


def _decoded(clip: Clip) -> np.ndarray[Any, np.dtype[np.float32]]:
    audio: np.ndarray[Any, np.dtype[np.float32]] = decode_audio(io.BytesIO(clip.wav))
    return audio


def _joined(segments: Any) -> str:
    return " ".join(segment.text.strip() for segment in segments)


def main(name: str, seconds: float) -> None:
    transcribe = PEERS[name]()
    corpus = clips()
    for clip in corpus[:WARM_UP]:
        transcribe(clip)
    texts: dict[str, str] = {}
    count, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        clip = corpus[count % len(corpus)]
        texts[clip.name] = transcribe(clip)
        count += 1
    result = {
        "clips": count,
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
        "texts": texts,
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
