"""The peers that the service is measured against in one process each, which decodes and transcribes files.

``python -m loadtests.benchmarks.parts.peers NAME``, with a job as JSON on standard input, prints its run as JSON in the
last line: ``peer_runs.py`` starts it. All are greedy, detect the language and keep their other defaults.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import psutil
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

from loadtests.benchmarks.accuracy.contenders import THREADS, FasterWhisper
from loadtests.common.closed_loop import following
from loadtests.common.memory import resident_mib

BATCH = 8
"""Windows of one file that a batched pipeline takes together."""

Transcribe = Callable[[Path], str]


@dataclass(frozen=True)
class Job:
    """What a peer has to do.

    Attributes:
        model: a CTranslate2 Whisper directory, or what was converted from it.
        files: to transcribe, in order.
        warm_up: files to transcribe before anything is measured.
        seconds: after which no further pass over the files begins.
    """

    model: str
    files: Sequence[str]
    warm_up: Sequence[str]
    seconds: float


@dataclass(frozen=True)
class Answer:
    """One transcript, and the seconds that it took."""

    file: str
    seconds: float
    text: str


@dataclass(frozen=True)
class PeerRun:
    """What a peer did: all its answers, and the seconds, CPU seconds and memory that they took."""

    answers: Sequence[Answer]
    seconds: float
    cpu_s: float
    memory_mib: float


@dataclass(frozen=True)
class Peer:
    """A peer.

    Attributes:
        load: takes the model's directory.
        package: what it comes in.
        options: in words.
        at_once: files that it transcribes at the same time.
    """

    load: Callable[[Path], Transcribe]
    package: str
    options: str
    at_once: int = 1

    @property
    def setup(self) -> str:
        """Its version and its options, in words."""
        return f"{self.package} {version(self.package)}, {self.options}; in one process, without HTTP"


def faster_whisper(model: Path) -> Transcribe:
    """Load faster-whisper as the accuracy benchmark runs it."""
    contender = FasterWhisper("faster-whisper", model)

    def transcribe(path: Path) -> str:
        answer = contender.transcribe_file(path)
        if answer.code:
            raise RuntimeError(f"faster-whisper did not transcribe {path}: {answer.code}")
        return answer.text

    return transcribe


def faster_whisper_workers(model: Path) -> Transcribe:
    """Load faster-whisper so that it transcribes as many files at a time as there are cores, each on one thread."""
    whisper: Any = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=1, num_workers=THREADS)
    return lambda path: _joined(whisper.transcribe(str(path), beam_size=1, vad_filter=True)[0])


def faster_whisper_batched(model: Path) -> Transcribe:
    """Load faster-whisper's batched pipeline, which batches the windows of one file: short clips gain little."""
    whisper: Any = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=THREADS)
    pipeline: Any = BatchedInferencePipeline(whisper)
    return lambda path: _joined(pipeline.transcribe(str(path), batch_size=BATCH, beam_size=1, vad_filter=True)[0])


def whisperx(model: Path) -> Transcribe:
    """Load WhisperX's pipeline with its own (bundled) voice activity detection."""
    from whisperx.asr import load_model  # noqa: PLC0415  (15 s of CPU, for this peer only)

    pipeline: Any = load_model(
        str(model), "cpu", compute_type="int8", asr_options={"beam_size": 1}, threads=THREADS, vad_method="pyannote"
    )

    def transcribe(path: Path) -> str:
        segments = pipeline.transcribe(_decoded(path), batch_size=BATCH)["segments"]
        return " ".join(segment["text"].strip() for segment in segments)

    return transcribe


def openvino_genai(model: Path) -> Transcribe:
    """Load OpenVINO GenAI's pipeline from a directory that ``openvino_genai.convert`` wrote."""
    from openvino_genai import WhisperPipeline  # noqa: PLC0415  (what is not asked for need not be installed)

    pipeline: Any = WhisperPipeline(str(model), "CPU", INFERENCE_NUM_THREADS=THREADS)
    return lambda path: str(pipeline.generate(_decoded(path)).texts[0]).strip()


INT8 = f"int8, {THREADS} threads, one file at a time"
GENAI = "openvino-genai"
PEERS: Mapping[str, Peer] = {
    "faster-whisper": Peer(faster_whisper, "faster-whisper", f"`vad_filter=True`, {INT8}"),
    "faster-whisper-workers": Peer(
        faster_whisper_workers,
        "faster-whisper",
        f"`vad_filter=True`, int8, {THREADS} files at a time, each on one thread",
        at_once=THREADS,
    ),
    "faster-whisper-batched": Peer(
        faster_whisper_batched, "faster-whisper", f"its batched pipeline, `vad_filter=True`, {INT8}"
    ),
    "whisperx": Peer(whisperx, "whisperx", f"its own voice activity detection, {INT8}"),
    GENAI: Peer(
        openvino_genai,
        "openvino-genai",
        "`WhisperPipeline`, the decoder's weights in int8, the encoder's in float16, without voice activity detection, "
        f"{THREADS} threads, one file at a time",
    ),
}


def _decoded(path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    audio: np.ndarray[Any, np.dtype[np.float32]] = decode_audio(str(path))
    return audio


def _joined(segments: Any) -> str:
    return " ".join(segment.text.strip() for segment in segments)


def run(peer: Peer, job: Job) -> PeerRun:
    """Let a peer do a job, in this process."""
    transcribe = peer.load(Path(job.model))
    for file in job.warm_up:
        transcribe(Path(file))
    queue, turn = following(job.files, job.seconds, whole_passes=True), Lock()
    answers: list[Answer] = []

    def work() -> None:
        while True:
            with turn:
                file = next(queue, None)
            if file is None:
                return
            began = time.perf_counter()
            text = transcribe(Path(file))
            answers.append(Answer(file, time.perf_counter() - began, text))

    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(peer.at_once) as pool:
        for done in [pool.submit(work) for _ in range(peer.at_once)]:
            done.result()
    return PeerRun(answers, time.perf_counter() - began, time.process_time() - cpu, resident_mib(psutil.Process()))


if __name__ == "__main__":
    found = run(PEERS[sys.argv[1]], Job(**json.load(sys.stdin)))
    sys.stdout.write(f"\n{json.dumps(asdict(found))}\n")
