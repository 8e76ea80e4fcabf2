"""Probabilities of speech: those of faster-whisper, from one thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.vad import get_vad_model
from numpy.typing import NDArray

from deployments.mel.voice_detection import speech_probabilities
from deployments.shared.voice_chunks import CHUNK
from tests.support.paths import AUDIO, ROOT
from tests.support.spoken_clips import pcm_of

CLIPS = sorted(AUDIO.glob("*.wav"))


def reference(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    # One chunk more than needed, because faster-whisper mutes the last 64 samples that it is given.
    audio = np.pad(pcm.astype(np.float32) / 32_768, (0, -len(pcm) % CHUNK + CHUNK))
    probabilities: NDArray[np.float32] = get_vad_model()(audio)
    return probabilities[:-1]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda path: path.stem)
def test_probabilities_equal_faster_whisper(clip: Path) -> None:
    pcm = pcm_of(clip)
    np.testing.assert_allclose(speech_probabilities(pcm), reference(pcm), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_samples", [1, CHUNK - 1, CHUNK, CHUNK + 1, 16 * CHUNK, 16 * CHUNK + 1, 33 * CHUNK])
def test_probabilities_at_the_edges_of_chunks_and_batches(n_samples: int) -> None:
    pcm = pcm_of(CLIPS[3])[:n_samples]
    np.testing.assert_allclose(speech_probabilities(pcm), reference(pcm), rtol=0, atol=1e-5)


def test_probabilities_do_not_depend_on_earlier_audio_or_on_the_thread() -> None:
    first, second = pcm_of(CLIPS[0]), pcm_of(CLIPS[1])
    expected = speech_probabilities(first)
    speech_probabilities(second)
    in_thread: list[NDArray[np.float32]] = []
    thread = threading.Thread(target=lambda: in_thread.append(speech_probabilities(first)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(speech_probabilities(first), expected)
    np.testing.assert_array_equal(in_thread[0], expected)


def test_one_thread_does_all_the_work() -> None:
    """Threads that spin in a BLAS or an inference runtime take the CPU from the other stages."""
    script = """
import time, numpy as np
from deployments.mel.log_mel import log_mel
from deployments.mel.voice_detection import speech_probabilities
pcm, out = np.random.default_rng(0).integers(-9000, 9000, 160_000).astype(np.int16), np.empty((128, 1000), np.float32)
speech_probabilities(pcm), log_mel(pcm, out)
process, thread = time.process_time(), time.thread_time()
for _ in range(20):
    speech_probabilities(pcm), log_mel(pcm, out)
print((time.process_time() - process) / (time.thread_time() - thread))
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(result.stdout) < 1.1
