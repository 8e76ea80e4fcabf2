"""The formats of live audio, and how bytes in them become samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from deployments.ingress.live.resampling import Resampler
from deployments.shared.frames import SAMPLE_RATE

FormatName = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]

G711_RATE: Final = 8000
G711_VALUES: Final = 256


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One channel of audio as a client sends it.

    Attributes:
        name: as the protocol writes it.
        rate: samples per second.
    """

    name: FormatName
    rate: int

    @property
    def sample_bytes(self) -> int:
        """Bytes per sample."""
        return 2 if self.name == "audio/pcm" else 1

    def seconds(self, n_bytes: int) -> float:
        """Return how long so many bytes last."""
        return n_bytes / (self.sample_bytes * self.rate)


PCM_24_KHZ: Final = AudioFormat("audio/pcm", 24_000)
PCM_16_KHZ: Final = AudioFormat("audio/pcm", SAMPLE_RATE)
MU_LAW: Final = AudioFormat("audio/pcmu", G711_RATE)
A_LAW: Final = AudioFormat("audio/pcma", G711_RATE)


class AudioReader:
    """Turns the bytes of one stream into 16 kHz samples, wherever the stream was cut into pieces.

    Args:
        audio_format: of all bytes.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._to_samples = SAMPLES_OF[audio_format.name]
        self._sample_bytes = audio_format.sample_bytes
        self._resample = None if audio_format.rate == SAMPLE_RATE else Resampler(audio_format.rate)
        self._left = b""

    def read(self, piece: bytes) -> NDArray[np.int16]:
        """Return the samples of the next bytes, ``[n_samples]``; half a sample at their end waits for its rest."""
        whole = self._left + piece
        cut = len(whole) - len(whole) % self._sample_bytes
        self._left = whole[cut:]
        samples = self._to_samples(whole[:cut])
        return samples if self._resample is None else self._resample(samples)


def _pcm_samples(data: bytes) -> NDArray[np.int16]:
    return np.frombuffer(data, "<i2").astype(np.int16, copy=False)


def _mu_law_table() -> NDArray[np.int16]:
    """Return the sample of each byte of G.711 mu-law."""
    code = ~np.arange(G711_VALUES) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _a_law_table() -> NDArray[np.int16]:
    """Return the sample of each byte of G.711 A-law."""
    code = np.arange(G711_VALUES) ^ 0x55
    exponent, mantissa = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


MU_LAW_SAMPLES: Final = _mu_law_table()
A_LAW_SAMPLES: Final = _a_law_table()

SAMPLES_OF: Final[dict[FormatName, Callable[[bytes], NDArray[np.int16]]]] = {
    "audio/pcm": _pcm_samples,
    "audio/pcmu": lambda data: MU_LAW_SAMPLES[np.frombuffer(data, np.uint8)],
    "audio/pcma": lambda data: A_LAW_SAMPLES[np.frombuffer(data, np.uint8)],
}
"""How the bytes of whole samples become samples."""
