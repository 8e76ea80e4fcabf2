"""Whisper's time grid, and the sizes a window's log-mel may have. Constants as in openai/whisper's ``audio.py``."""

from __future__ import annotations

from collections.abc import Sequence

SAMPLE_RATE = 16_000
"""Samples per second of all decoded audio: what Whisper and Silero VAD are trained on."""

N_FFT = 400  # samples that a frame covers: 25 ms
HOP_LENGTH = 160  # samples between frames: 10 ms
CHUNK_LENGTH = 30  # seconds in Whisper's full window
N_SAMPLES = CHUNK_LENGTH * SAMPLE_RATE
N_FRAMES = N_SAMPLES // HOP_LENGTH
MEL_BINS = (80, 128)  # 80 up to large-v2, 128 since large-v3

TRAILING_SILENCE = SAMPLE_RATE // 5  # samples; with none, the demo model loses the last words
BUCKETS = (192, 320, 448, 576, 704, 832, 1024, 1280, 1536, 2048, 3000)
"""Lengths of a trimmed window, in frames. No length gives 80 or 128 encoder states, which CTranslate2 would take for a
log-mel.

Multiples of 64 suit the matrix units of the encoder's device. There are few lengths, because windows of one length
decode together, and because each length costs the encoder a compiled graph.
"""


def frames_for(n_samples: int, buckets: Sequence[int] = BUCKETS) -> int:
    """Return the frames of the smallest bucket that holds a window of ``n_samples`` and a little silence after it.

    Args:
        n_samples: samples of the window, at 16 kHz.
        buckets: lengths in frames, ascending; the last one holds the longest window, if need be without the silence.

    Raises:
        ValueError: the window is longer than the last bucket.
    """
    if n_samples > buckets[-1] * HOP_LENGTH:
        raise ValueError(f"A window of {n_samples} samples does not fit into {buckets[-1]} frames; cut shorter windows")
    return next((frames for frames in buckets if n_samples + TRAILING_SILENCE <= frames * HOP_LENGTH), buckets[-1])
