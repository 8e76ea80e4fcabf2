"""Which of two channels is heard, or their mix."""

from __future__ import annotations

import numpy as np
import pytest
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from deployments.mel.channels import StereoMeter

RNG = np.random.default_rng(0)
VOICE, OTHER = RNG.normal(0, 3000, (2, 16_000)).astype(np.int16)
NOTHING = np.zeros_like(VOICE)


def channel(left: NDArray[np.int16], right: NDArray[np.int16], *, planar: bool) -> int | None:
    samples = np.stack([left, right])
    meter = StereoMeter()
    for start in range(0, samples.shape[1], 1000):
        part = np.ascontiguousarray(samples[:, start : start + 1000])
        part = part if planar else part.T.reshape(1, -1)
        frame = AudioFrame.from_ndarray(part, "s16p" if planar else "s16", "stereo")
        assert list(meter.measure([frame])) == [frame]
    return meter.channel


@pytest.mark.parametrize("planar", [True, False])
@pytest.mark.parametrize(
    ("left", "right", "alone"),
    [
        (VOICE, VOICE, None),
        (VOICE, OTHER, None),
        (VOICE, VOICE // 20, None),
        (VOICE, -VOICE, 0),
        (VOICE // 2, -VOICE // 2 - VOICE // 40, 1),
        (VOICE, NOTHING, 0),
        (NOTHING + 500, VOICE, 1),
        (NOTHING, NOTHING, None),
    ],
    ids=["same", "different", "quieter", "opposite", "nearly opposite", "dead", "dead with an offset", "silence"],
)
def test_the_mix_is_heard_unless_it_says_less(
    left: NDArray[np.int16], right: NDArray[np.int16], alone: int | None, planar: bool
) -> None:
    assert channel(left, right, planar=planar) == alone


def test_other_layouts_are_not_measured() -> None:
    meter = StereoMeter()
    frame = AudioFrame.from_ndarray(VOICE[None], "s16", "mono")
    assert list(meter.measure([frame])) == [frame]
    assert meter.channel is None
