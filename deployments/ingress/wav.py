"""Bare samples as a file."""

from __future__ import annotations

import io
import wave

from deployments.shared.frames import SAMPLE_RATE


def with_header(samples: bytes) -> bytes:
    """Return bare samples, 16 kHz mono int16, as a wav file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(samples)
    return file.getvalue()
