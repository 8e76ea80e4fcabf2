"""The probability of speech in all of a recording."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from deployments.shared.voice_chunks import CHUNK
from deployments.shared.voice_model import VoiceModel

BATCH = 32  # chunks per inference


def speech_probabilities(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return the probability of speech in each chunk of 512 samples; memory does not grow with the audio.

    Args:
        pcm: ``[n_samples]``, 16 kHz mono.

    Returns:
        ``[ceil(n_samples / 512)]``; silence fills the last chunk up.
    """
    model = _model()
    model.forget()
    result = np.empty(-(-len(pcm) // CHUNK), np.float32)
    for first in range(0, len(result), BATCH):
        heard = model.hear(pcm[first * CHUNK : (first + BATCH) * CHUNK])
        result[first : first + BATCH] = heard[: len(result) - first]
    return result


_thread = threading.local()


def _model() -> VoiceModel:
    """Return this thread's model."""
    if not hasattr(_thread, "model"):
        _thread.model = VoiceModel(BATCH)
    model: VoiceModel = _thread.model
    return model
