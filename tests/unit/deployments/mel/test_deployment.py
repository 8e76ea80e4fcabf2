"""The MelPreprocessor without Serve: what it keeps of an upload for later calls."""

from __future__ import annotations

import asyncio
import io
import time
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import deployments.mel.deployment
from deployments.shared.contracts import (
    BlobRef,
    PreparedAudio,
    SlotArray,
    SpeechOptions,
    SpooledBlob,
    Ticket,
    WindowMel,
)
from deployments.shared.frames import SAMPLE_RATE
from deployments.shared.memory.handoff import load_pcm
from deployments.shared.memory.slab import Slab, SlabLayout
from deployments.shared.memory.spool import write_upload
from deployments.shared.model.description import load_model
from deployments.shared.settings import Settings
from tests.support.paths import AUDIO
from tests.support.spoken_clips import DEMO_MODEL

CLIP = AUDIO / "05_flite-slt.wav"


class Bench:
    """A MelPreprocessor, a slab and a spool."""

    def __init__(self, directory: Path) -> None:
        settings = Settings.resolve({"whisper_model": str(DEMO_MODEL)})
        self.slab = Slab.create(directory / "slab", SlabLayout(2, 80, 3000, 1500, 192))
        self._spool = directory / "spool"
        self._spool.mkdir()
        deployment: Any = deployments.mel.deployment.MelPreprocessor
        self.mel = deployment.func_or_class(settings, load_model(settings))

    def ticket(self, slot: int) -> Ticket:
        return Ticket("test", slot, self.slab.grant(slot), time.monotonic() + 60, str(self.slab.path))

    def upload(self, data: bytes) -> SpooledBlob:
        return SpooledBlob(str(write_upload(self._spool, data)))

    def log_mel(self, ticket: Ticket, array: SlotArray) -> NDArray[np.float32]:
        return self.slab.view(ticket.slot, ticket.generation, array.area, array.shape).copy()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(deployments.mel.deployment, "replica_name", lambda: "replica")
    monkeypatch.setattr(deployments.mel.deployment, "give_way_to_ingress", lambda: None)
    return Bench(tmp_path)


def prepare(bench: Bench, ticket: Ticket, data: bytes, *, vad_filter: bool = True) -> PreparedAudio:
    options = SpeechOptions(vad_filter=vad_filter, max_window_s=30.0)
    prepared: PreparedAudio = asyncio.run(bench.mel.prepare(ticket, bench.upload(data), options))
    return prepared


def wav(pcm: NDArray[np.int16]) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm.tobytes())
    return data.getvalue()


def kept(prepared: PreparedAudio) -> BlobRef:
    assert prepared.pcm is not None
    return prepared.pcm


def test_the_audio_of_one_window_is_kept_for_what_its_text_leaves_out(bench: Bench) -> None:
    prepared = prepare(bench, bench.ticket(0), CLIP.read_bytes())
    (window,) = prepared.windows
    samples = load_pcm(kept(prepared), slice(0, round(prepared.duration_s * SAMPLE_RATE)))
    with wave.open(str(CLIP)) as file:
        np.testing.assert_array_equal(samples, np.frombuffer(file.readframes(file.getnframes()), np.int16))
    assert window.speech


def test_a_later_call_computes_the_same_log_mel_from_the_kept_audio(bench: Bench) -> None:
    ticket = bench.ticket(0)
    prepared = prepare(bench, ticket, CLIP.read_bytes(), vad_filter=False)
    window, again = prepared.windows[0], bench.ticket(1)
    result: WindowMel = asyncio.run(bench.mel.log_mel(again, kept(prepared), window))
    assert isinstance(prepared.first, SlotArray)
    assert isinstance(result.log_mel, SlotArray)
    np.testing.assert_array_equal(bench.log_mel(again, result.log_mel), bench.log_mel(ticket, prepared.first))


def test_a_window_is_given_its_30_s_where_it_asks_for_them(bench: Bench) -> None:
    ticket, again = bench.ticket(0), bench.ticket(1)
    prepared = prepare(bench, ticket, CLIP.read_bytes())
    window = replace(prepared.windows[0], in_full=True)
    result: WindowMel = asyncio.run(bench.mel.log_mel(again, kept(prepared), window))
    assert isinstance(prepared.first, SlotArray)
    assert isinstance(result.log_mel, SlotArray)
    full, trimmed = bench.log_mel(again, result.log_mel), bench.log_mel(ticket, prepared.first)
    assert full.shape == (80, 3000)
    np.testing.assert_array_equal(full[:, : trimmed.shape[1]], trimmed)


@pytest.mark.parametrize("vad_filter", [True, False])
@pytest.mark.parametrize("n_samples", [1, 800, 1600])
def test_what_is_too_short_for_a_word_is_no_error(bench: Bench, n_samples: int, vad_filter: bool) -> None:
    noise = np.random.default_rng(0).integers(-9000, 9000, n_samples).astype(np.int16)
    prepared = prepare(bench, bench.ticket(0), wav(noise), vad_filter=vad_filter)
    assert (prepared.windows, prepared.pcm, prepared.first) == ((), None, None)
    assert prepared.duration_s == n_samples / SAMPLE_RATE
