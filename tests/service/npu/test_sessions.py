"""Live sessions that come and go, on an application that no other test counts or overloads meanwhile."""

from __future__ import annotations

import asyncio
import random

from loadtests.common.client import make_upload
from loadtests.common.wav import pcm_of_wav
from loadtests.load.live_sessions.__main__ import Target, run
from loadtests.load.live_sessions.ways import WAYS
from tests.support.paths import AUDIO
from tests.support.service_helpers import replicas


def test_sessions_that_end_in_every_way_leave_nothing(service: str) -> None:
    (ingress,) = replicas("npu-or-cpu", "Ingress")
    clip = (AUDIO / "01_espeak-plain.wav").read_bytes()
    target = Target(f"{service}/npu-or-cpu", ingress, make_upload(clip), [pcm_of_wav(clip)])
    outcome = asyncio.run(run(target, len(WAYS), 0.0, random.Random(1)))
    assert set(outcome.ways.values()) == {1}
    assert outcome.left == []
