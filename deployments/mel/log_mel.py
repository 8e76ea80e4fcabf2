"""Whisper's log-mel spectrogram of one window of speech, written straight into the slot.

The constants and the definition are those of openai/whisper's ``audio.py``.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft

from deployments.mel.mel_filters import mel_filters
from deployments.shared.frames import CHUNK_LENGTH, HOP_LENGTH, N_FFT, N_FRAMES, N_SAMPLES, SAMPLE_RATE

DYNAMIC_RANGE = 8.0  # in log10 units: what is quieter than the loudest point by more than this is clamped
SMALLEST_POWER = 1e-10
SILENCE = float(np.log10(SMALLEST_POWER))

CENTER = N_FFT // 2  # frame t is centred on sample t * HOP_LENGTH
BLOCK = 100  # frames transformed at a time: the scratch arrays stay within the CPU's cache
WINDOW = (np.hanning(N_FFT + 1)[:-1] / 32768).astype(np.float32)  # also scales int16 to [-1, 1]


class _Scratch(threading.local):
    """Scratch arrays of one thread, used again by every call."""

    def __init__(self) -> None:
        self.signal = np.zeros(CENTER + N_SAMPLES + N_FFT, np.float32)
        self.frames = np.lib.stride_tricks.sliding_window_view(self.signal, N_FFT)[::HOP_LENGTH]
        self.windowed = np.empty((BLOCK, N_FFT), np.float32)
        self.power = np.empty((BLOCK, N_FFT // 2 + 1), np.float32)
        self.mel = np.empty((0, N_FRAMES + 1), np.float32)

    def mel_of(self, n_mels: int, frames: int) -> NDArray[np.float32]:
        """Return an array ``[n_mels, frames]``, not initialised."""
        if len(self.mel) < n_mels:
            self.mel = np.empty((n_mels, N_FRAMES + 1), np.float32)
        return self.mel[:n_mels, :frames]


_scratch = _Scratch()


def log_mel(pcm: NDArray[np.int16], out: NDArray[np.float32]) -> None:
    """Write the log-mel of a window, padded with silence to 30 s, into ``out``.

    As Whisper defines it: 25-ms Hann windows every 10 ms, power spectrum, mel filters, ``log10`` clamped to
    8 below the loudest point of the 30 s, ``(x + 4) / 4``. The padding is never transformed: it is one constant.

    Args:
        pcm: ``[n_samples]``, 16 kHz mono, at most 30 s.
        out: ``[n_mels, frames]``; an array of less than 3000 frames gets the first frames of the same 30 s.

    Raises:
        ValueError: the audio is longer than 30 s.
    """
    if len(pcm) > N_SAMPLES:
        raise ValueError(f"A window holds at most {CHUNK_LENGTH} s of audio, not {len(pcm) / SAMPLE_RATE:.1f} s")
    n_mels, frames = out.shape
    mel = _mel_power(pcm, n_mels)
    np.maximum(mel, SMALLEST_POWER, out=mel)
    np.log10(mel, out=mel)
    floor = float(mel.max()) - DYNAMIC_RANGE

    spoken = min(mel.shape[1], frames)
    np.maximum(mel[:, :spoken], floor, out=out[:, :spoken])
    out[:, :spoken] += 4.0
    out[:, :spoken] *= 0.25
    out[:, spoken:] = (max(SILENCE, floor) + 4.0) / 4.0


def _mel_power(pcm: NDArray[np.int16], n_mels: int) -> NDArray[np.float32]:
    """Return the mel power ``[n_mels, t]`` of every frame that touches the audio, in this thread's scratch array."""
    _fill_signal(pcm)
    # Whisper drops the very last frame; faster-whisper, the reference here, keeps it for the maximum.
    touched = min(-(-(len(pcm) + CENTER) // HOP_LENGTH), N_FRAMES + 1)
    frames = _scratch.frames[:touched]
    filters = mel_filters(n_mels)
    mel = _scratch.mel_of(n_mels, touched)
    for start in range(0, touched, BLOCK):
        block = frames[start : start + BLOCK]
        spectrum = rfft(np.multiply(block, WINDOW, out=_scratch.windowed[: len(block)]), overwrite_x=True)
        squares = spectrum.view(np.float32)
        np.square(squares, out=squares)
        power = np.add(squares[:, ::2], squares[:, 1::2], out=_scratch.power[: len(block)])
        mel[:, start : start + BLOCK] = filters @ power.T
    return mel


def _fill_signal(pcm: NDArray[np.int16]) -> None:
    """Put the audio into this thread's scratch signal: mirrored before its start, silence after its end."""
    signal = _scratch.signal
    end = CENTER + len(pcm)
    signal[CENTER:end] = pcm
    signal[end : end + N_FFT] = 0.0
    signal[:CENTER] = signal[2 * CENTER : CENTER : -1]
