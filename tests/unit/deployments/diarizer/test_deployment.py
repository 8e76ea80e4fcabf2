"""The Diarizer as a replica runs it: with real models, on audio in a spool."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deployments.diarizer.deployment
from deployments.diarizer.deployment import Diarizer
from deployments.diarizer.diarization import Diarization
from deployments.diarizer.known_voices import named
from deployments.diarizer.loading import load_listener
from deployments.shared.contracts import NO_SLOT, SpeakerOptions, SpooledBlob, Ticket, Turn
from deployments.shared.errors import DeadlineExceededError, RequestCancelledError, SpeakersUnavailableError
from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.settings import Settings


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments.diarizer.deployment, "give_way_to_ingress", lambda _niceness: None)
    monkeypatch.setattr(deployments.diarizer.deployment, "replica_name", lambda: "replica")


def diarizer(**settings: Any) -> Any:
    replica: Any = Diarizer
    return replica.func_or_class(Settings.resolve(settings))


def ticket(seconds: float = 60.0) -> Ticket:
    return Ticket("r", NO_SLOT, 0, time.time() + seconds, None)


def spooled(directory: Path, seconds: float) -> tuple[SpooledBlob, int]:
    rng = np.random.default_rng(1)
    pcm = (rng.standard_normal(round(seconds * SAMPLE_RATE)) * 100).astype(np.int16)
    path = directory / "audio.pcm"
    pcm.tofile(path)
    return SpooledBlob(str(path)), len(pcm)


@pytest.mark.usefixtures("quiet")
class TestDiarizer:
    def test_noise_has_no_speakers(self, tmp_path: Path) -> None:
        found = asyncio.run(diarizer().diarize(ticket(), *spooled(tmp_path, 12.0), SpeakerOptions()))
        assert (found.speakers, found.turns) == ((), ())
        assert found.timing.replica == "replica"
        assert found.timing.device == "cpu:openvino"

    def test_who_comes_too_late_is_not_listened_to(self, tmp_path: Path) -> None:
        with pytest.raises(DeadlineExceededError):
            asyncio.run(diarizer().diarize(ticket(-1.0), *spooled(tmp_path, 1.0), SpeakerOptions()))

    def test_a_request_whose_audio_is_gone_was_given_up(self, tmp_path: Path) -> None:
        pcm, samples = spooled(tmp_path, 1.0)
        Path(pcm.path).unlink()
        with pytest.raises(RequestCancelledError):
            asyncio.run(diarizer().diarize(ticket(), pcm, samples, SpeakerOptions()))

    def test_a_request_that_is_given_up_ends_between_two_steps(self, tmp_path: Path) -> None:
        async def scenario() -> float:
            replica = diarizer()
            call = asyncio.create_task(replica.diarize(ticket(), *spooled(tmp_path, 600.0), SpeakerOptions()))
            await asyncio.sleep(0.3)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            began = time.process_time()
            while (await replica.progress()).stalled_s:  # noqa: ASYNC110  (a replica can only be asked)
                await asyncio.sleep(0.01)
            return time.process_time() - began

        assert asyncio.run(scenario()) < 5.0

    def test_what_cannot_be_loaded_is_told_with_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unloadable(model: str, token: str | None) -> None:
            del token
            raise SpeakersUnavailableError.not_loadable(model, OSError("no network"))

        monkeypatch.setattr(deployments.diarizer.deployment, "load_listener", unloadable)
        replica = diarizer(diarization_model="pyannote/speaker-diarization-3.1")
        with pytest.raises(SpeakersUnavailableError, match=r"pyannote/speaker-diarization-3.1 .*=built-in"):
            asyncio.run(replica.diarize(ticket(), *spooled(tmp_path, 1.0), SpeakerOptions()))


def test_whisperx_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "whisperx.diarize", None)
    with pytest.raises(SpeakersUnavailableError, match="pip install whisperx"):
        load_listener("some/pipeline", None)


ANN, BOB = np.eye(2, dtype=np.float32)


def test_a_known_person_who_was_taken_for_two_is_one() -> None:
    turns = [Turn(0.0, 1.0, 0), Turn(1.0, 2.0, 1), Turn(2.0, 3.0, 2)]
    found = Diarization(turns, np.stack([ANN, BOB, ANN * 0.9 + BOB * 0.1]), [-20.0, -25.0, -30.0])
    merged, names = named(found, ["ann"], ANN[None])
    assert names == ["ann", None]
    assert [turn.speaker for turn in merged.turns] == [0, 1, 0]
    assert merged.levels_db == [-20.0, -25.0]


def test_a_stranger_gets_no_name() -> None:
    found, names = named(Diarization([Turn(0.0, 1.0, 0)], BOB[None], [-20.0]), ["ann"], ANN[None])
    assert (found.turns, names) == ([Turn(0.0, 1.0, 0)], [None])
