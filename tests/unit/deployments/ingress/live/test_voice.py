"""The voice model for live sessions: what it hears of speech in pieces is what it hears of files."""

from __future__ import annotations

import asyncio

import numpy as np

from deployments.ingress.live.voice import STEP, VoiceThreads
from deployments.mel.voice_detection import speech_probabilities
from tests.support.paths import AUDIO
from tests.support.spoken_clips import pcm_of

CLIPS = sorted(AUDIO.glob("*.wav"))[:3]


async def hear_in_turn() -> list[list[float]]:
    voice = VoiceThreads()
    try:
        return await asyncio.gather(*(hear(voice, index) for index in range(len(CLIPS))))
    finally:
        voice.close()


async def hear(voice: VoiceThreads, index: int) -> list[float]:
    pcm, state, found = pcm_of(CLIPS[index]), None, list[float]()
    for first in range(0, len(pcm) - STEP, STEP):
        probabilities, state = await voice.hear(pcm[first : first + STEP], state)
        found += probabilities
    return found


def test_speakers_who_are_heard_at_the_same_time_are_heard_as_in_files() -> None:
    for clip, found in zip(CLIPS, asyncio.run(hear_in_turn()), strict=True):
        expected = speech_probabilities(pcm_of(clip))[: len(found)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        assert max(found) > 0.9
