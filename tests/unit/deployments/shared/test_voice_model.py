"""Several streams of audio in turn through one voice model: each is heard as if it were alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deployments.shared.voice_chunks import CHUNK
from deployments.shared.voice_model import VoiceModel
from tests.support.paths import AUDIO
from tests.support.spoken_clips import pcm_of

CLIPS = sorted(AUDIO.glob("*.wav"))[:2]


def alone(pcm: NDArray[np.int16], batch: int) -> list[float]:
    model = VoiceModel(batch)
    step = batch * CHUNK
    return [value for first in range(0, len(pcm), step) for value in model.hear(pcm[first : first + step]).tolist()]


@pytest.mark.parametrize("batch", [1, 4])
def test_streams_that_are_left_and_resumed_are_heard_as_if_each_were_alone(batch: int) -> None:
    step = batch * CHUNK
    clips = [pcm_of(clip)[: 16 * step] for clip in CLIPS]
    model = VoiceModel(batch)
    left = [model.leave(), model.leave()]
    found: list[list[float]] = [[], []]
    for first in range(0, 16 * step, step):
        for number, clip in enumerate(clips):
            model.resume(left[number])
            found[number] += model.hear(clip[first : first + step]).tolist()
            left[number] = model.leave()
    for number, clip in enumerate(clips):
        np.testing.assert_allclose(found[number], alone(clip, batch), rtol=0, atol=1e-6)


def test_what_is_heard_does_not_depend_on_the_size_of_a_batch() -> None:
    pcm = pcm_of(CLIPS[0])[: 32 * CHUNK]
    np.testing.assert_allclose(alone(pcm, 1), alone(pcm, 32), rtol=0, atol=1e-5)
