"""WAV files of 16 kHz, mono, 16 bits."""

from __future__ import annotations

import io
import wave
from pathlib import Path

RATE = 16_000
SAMPLE_BYTES = 2


def pcm_of(path: Path) -> bytes:
    """Return the samples in a file."""
    return pcm_of_wav(path.read_bytes())


def pcm_of_wav(content: bytes) -> bytes:
    """Return the samples in the content of a file."""
    with wave.open(io.BytesIO(content), "rb") as file:
        return file.readframes(file.getnframes())


def wav_of(pcm: bytes) -> bytes:
    """Return the content of a file with these samples."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(RATE)
        file.writeframes(pcm)
    return buffer.getvalue()


def seconds_of(pcm: bytes) -> float:
    """Return how long these samples last."""
    return len(pcm) / SAMPLE_BYTES / RATE
