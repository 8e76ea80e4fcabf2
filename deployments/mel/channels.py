"""What is heard of a track's channels: their mix, one that says everything, or each by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

EVERY = 4
"""One frame in so many is measured: enough to know the channels, at a fortieth of the cost of decoding."""

STEREO = 2
OPPOSITE = 0.01
"""Power of the mix over that of the louder channel, below which the channels cancel each other out: a line whose second
wire was recorded as a second channel. Voices that have nothing to do with each other have a half."""

DEAD = 1e-4
"""Power of the quieter channel over that of the louder one, below which nothing was plugged in there."""


class StereoMeter:
    """Measures the two channels of a track as its frames pass; tracks of other layouts are not measured."""

    def __init__(self) -> None:
        self._frames = 0
        self._power = np.zeros(STEREO)
        self._mixed = 0.0

    def measure(self, frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
        """Yield the frames."""
        for frame in frames:
            if frame.layout.nb_channels == STEREO and self._frames % EVERY == 0:
                self._add(_samples(frame))
            self._frames += 1
            yield frame

    @property
    def channel(self) -> int | None:
        """The channel that is to be heard alone; None where the mix is right."""
        louder = int(self._power.argmax())
        if not self._power[louder]:
            return None
        is_opposite = self._mixed < OPPOSITE * self._power[louder]
        is_dead = self._power.min() < DEAD * self._power[louder]
        return louder if is_opposite or is_dead else None

    def _add(self, samples: NDArray[np.float32]) -> None:
        samples = samples - samples.mean(axis=1, keepdims=True)  # a channel with nothing but an offset is dead
        self._power += np.einsum("ij,ij->i", samples, samples)
        mix = samples.mean(axis=0)
        self._mixed += float(mix @ mix)


def _samples(frame: AudioFrame) -> NDArray[np.float32]:
    """Return the samples of a stereo frame: ``[2, samples]``, on any scale."""
    samples = frame.to_ndarray().astype(np.float32)
    return samples if frame.format.is_planar else samples.reshape(-1, STEREO).T
