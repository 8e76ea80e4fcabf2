"""The MelPreprocessor without Serve: hour-long files beside short ones, a thread that hangs, files that never end."""

from __future__ import annotations

import asyncio
import io
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import deployments.mel.deployment
from deployments.mel.decoding import decode
from deployments.mel.track_decoding import AudioLimits, Recording
from deployments.shared.contracts import AudioOptions, PreparedAudio, SpeechOptions, SpooledBlob, Ticket
from deployments.shared.errors import AudioTooLongError, AudioTooSlowError, StageHungError
from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.memory.slab import Slab, SlabLayout
from deployments.shared.memory.spool import write_upload
from deployments.shared.model.description import load_model
from deployments.shared.settings import Settings
from deployments.shared.watchdog import ProgressWatch
from tests.support.spoken_clips import DEMO_MODEL

SLOTS = 16
LONG_S = deployments.mel.deployment.SHORT_S + 30


class Bench:
    """A MelPreprocessor, a slab, and its decoding, which a test may hold up."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        monkeypatch.setattr(deployments.mel.deployment, "replica_name", lambda: "replica")
        monkeypatch.setattr(deployments.mel.deployment, "give_way_to_ingress", lambda: None)
        self._decode = decode
        monkeypatch.setattr(deployments.mel.deployment, "decode", self._held_decode)
        resolved = Settings.resolve({"whisper_model": str(DEMO_MODEL), **settings})
        self.slab = Slab.create(directory / "slab", SlabLayout(SLOTS, 80, 3000, 1500, 192))
        self.spool = directory / "spool"
        self.spool.mkdir()
        deployment: Any = deployments.mel.deployment.MelPreprocessor
        self.mel = deployment.func_or_class(resolved, load_model(resolved))
        self.gate = threading.Event()
        self.gate.set()
        self.limits: list[float] = []

    def prepare(self, slot: int, seconds: float) -> asyncio.Task[PreparedAudio]:
        ticket = Ticket("test", slot, self.slab.grant(slot), time.monotonic() + 60, str(self.slab.path))
        upload = SpooledBlob(str(write_upload(self.spool, silence(seconds))))
        return asyncio.create_task(self.mel.prepare(ticket, upload, SpeechOptions(vad_filter=True, max_window_s=30)))

    def _held_decode(
        self, file: BinaryIO, limits: AudioLimits, progressed: Callable[[], None], options: AudioOptions
    ) -> Recording:
        self.limits.append(limits.max_seconds)
        recording = self._decode(file, limits, progressed, options)
        if recording.seconds > 60:
            assert self.gate.wait(20)
        return recording


def silence(seconds: float) -> bytes:
    """A 16 kHz mono wav file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(bytes(2 * round(seconds * SAMPLE_RATE)))
    return buffer.getvalue()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_six_long_files_shut_no_short_one_out(bench: Bench) -> None:
    async def scenario() -> None:
        bench.gate.clear()
        long = [bench.prepare(slot, LONG_S) for slot in range(6)]
        await asyncio.sleep(0.1)
        for number in range(40):
            prepared = await asyncio.wait_for(bench.prepare(6 + number % 10, 1.0), 5)
            assert prepared.duration_s == 1.0
        assert not any(task.done() for task in long)
        bench.gate.set()
        assert {(await task).duration_s for task in long} == {LONG_S}

    asyncio.run(scenario())


def test_a_file_beyond_the_limit_is_rejected_and_a_long_one_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path, monkeypatch, max_audio_s=200)
        with pytest.raises(AudioTooLongError, match="200 seconds"):
            await bench.prepare(0, 201)
        assert (await bench.prepare(1, LONG_S)).duration_s == LONG_S
        assert (await bench.prepare(2, 3)).duration_s == 3
        assert bench.limits == [deployments.mel.deployment.SHORT_S, 200] * 2 + [deployments.mel.deployment.SHORT_S]

    asyncio.run(scenario())


def test_where_all_files_are_short_none_is_decoded_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path, monkeypatch, max_audio_s=60)
        with pytest.raises(AudioTooLongError, match="60 seconds"):
            await bench.prepare(0, 61)
        assert bench.limits == [60]

    asyncio.run(scenario())


def test_a_file_that_takes_too_long_is_not_tried_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_slow(*_: object) -> None:
        bench.limits.append(0)
        raise AudioTooSlowError("slow")

    monkeypatch.setattr(bench, "_decode", too_slow)

    async def scenario() -> None:
        with pytest.raises(AudioTooSlowError):
            await bench.prepare(0, 1)
        assert bench.limits == [deployments.mel.deployment.SHORT_S, 0]

    asyncio.run(scenario())


def test_a_thread_that_hangs_fails_the_check_although_the_other_one_works(bench: Bench) -> None:
    bench.mel._watch = ProgressWatch(0.1, slack=0)
    bench.mel._watch.learn(0.0)

    async def scenario() -> None:
        await bench.mel.check_health()
        bench.gate.clear()
        stuck = bench.prepare(0, 61)
        until = time.monotonic() + 10
        while bench.mel._watch.progress().stalled_s < 0.3:
            assert time.monotonic() < until
            await bench.prepare(1, 0.5)
        assert (await bench.mel.progress()).stalled_s >= 0.3
        with pytest.raises(StageHungError):
            await bench.mel.check_health()
        bench.gate.set()
        await stuck
        await bench.mel.check_health()

    asyncio.run(scenario())


def test_the_slab_of_a_service_that_is_gone_is_dropped_at_the_next_check(bench: Bench) -> None:
    async def scenario() -> None:
        await bench.prepare(0, 1.0)
        await bench.mel.check_health()
        assert bench.mel._handoff._slab is not None
        bench.slab.path.unlink()
        await bench.mel.check_health()
        assert bench.mel._handoff._slab is None

    asyncio.run(scenario())
