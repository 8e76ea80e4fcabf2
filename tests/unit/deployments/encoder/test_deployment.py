"""The Encoder without Serve, on a simulated NPU: slots, errors, late completions, a device that is lost at rest."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import deployments.encoder.deployment
from deployments.shared.contracts import Area, EncodedWindow, SlotArray, Ticket
from deployments.shared.errors import AmanuensisError, DeviceBrokenError, DeviceUnreliableError, SlotViolationError
from deployments.shared.memory.slab import Slab, SlabLayout
from deployments.shared.model.description import load_model
from deployments.shared.settings import Settings
from npu_encoder.silence import TrailingSilence
from tests.support.paths import DEMO_MODEL

SLOTS = 6
MEL_SHAPE, STATES_SHAPE = (80, 200), (100, 192)
NPU = "npu:xdna2-bf16-simulated"


class Bench:
    """An Encoder, a slab, and the scenario of its device."""

    def __init__(self, directory: Path) -> None:
        self._scenario = directory / "scenario.json"
        self._version = 0
        self.fails()
        settings = Settings.resolve(
            {
                "whisper_model": str(DEMO_MODEL),
                "device": "npu",
                "npu_simulator": True,
                "npu_scenario": str(self._scenario),
            }
        )
        self.slab = Slab.create(directory / "slab", SlabLayout(SLOTS, 80, 3000, 1500, 192))
        deployment: Any = deployments.encoder.deployment.Encoder
        # Graphs are compiled for each length that a window may have: here all have one.
        model = replace(load_model(settings), frame_buckets=MEL_SHAPE[1:])
        self.encoder = deployment.func_or_class(settings, model)

    def fails(self, *faults: dict[str, Any]) -> None:
        self._version += 1
        self._scenario.write_text(json.dumps({"gemm_s": 1e-4, "tdr_s": 10.0, "faults": faults}))
        os.utime(self._scenario, ns=(self._version, self._version))

    def ticket(self, slot: int) -> Ticket:
        """Grant the slot anew, write a log-mel into it, and return the ticket."""
        ticket = Ticket("test", slot, self.slab.grant(slot), time.monotonic() + 60, str(self.slab.path))
        log_mel = self.slab.view(slot, ticket.generation, Area.LOG_MEL, MEL_SHAPE)
        log_mel[:] = np.random.default_rng(slot).uniform(-1, 1, MEL_SHAPE)
        return ticket

    async def encode(self, ticket: Ticket) -> EncodedWindow:
        log_mel = SlotArray(ticket.slot, ticket.generation, Area.LOG_MEL, MEL_SHAPE)
        encoded: EncodedWindow = await self.encoder.encode(ticket, log_mel)
        return encoded

    async def encode_all(self, tickets: list[Ticket]) -> list[EncodedWindow | BaseException]:
        return await asyncio.gather(*map(self.encode, tickets), return_exceptions=True)

    def states(self, ticket: Ticket) -> NDArray[np.float32]:
        return self.slab.view(ticket.slot, ticket.generation, Area.ENCODER_STATES, STATES_SHAPE).copy()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(deployments.encoder.deployment, "replica_name", lambda: "replica")
    bench = Bench(tmp_path)
    yield bench
    bench.encoder._backend.close()


def test_windows_are_encoded_and_their_slots_are_free_afterwards(bench: Bench) -> None:
    async def scenario() -> None:
        tickets = [bench.ticket(slot) for slot in range(SLOTS)]
        stale = Ticket("test", 0, tickets[0].generation - 1, time.monotonic() + 60, str(bench.slab.path))
        *encoded, refused = await bench.encode_all([*tickets, stale])
        assert isinstance(refused, SlotViolationError)
        for ticket, window in zip(tickets, encoded, strict=True):
            assert isinstance(window, EncodedWindow)
            assert window.timing.device == NPU
            assert 1 <= window.timing.batch_size <= SLOTS
            assert np.isfinite(bench.states(ticket)).all()
        assert not any(bench.slab.is_written(slot) for slot in range(SLOTS))

    asyncio.run(scenario())


def test_what_stands_for_the_silence_follows_the_states(bench: Bench) -> None:
    silence = TrailingSilence(
        np.zeros((4, 94, 192), np.float32), np.arange(750 * 192, dtype=np.float32).reshape(750, 192), 1500
    )
    bench.encoder._silence = silence
    ticket = bench.ticket(0)
    encoded: EncodedWindow = asyncio.run(bench.encode(ticket))
    assert isinstance(encoded.states, SlotArray)
    assert encoded.states.shape == (544, 192)
    states = bench.slab.view(0, ticket.generation, Area.ENCODER_STATES, encoded.states.shape)
    np.testing.assert_array_equal(states[100:], silence.tail(100))
    assert np.abs(states[:100]).max() < 50


def test_a_run_that_ends_after_it_was_given_up_touches_no_later_window(bench: Bench) -> None:
    async def scenario() -> None:
        tickets = [bench.ticket(slot) for slot in range(SLOTS)]
        await bench.encode_all(tickets)
        expected = [bench.states(ticket) for ticket in tickets]
        bench.fails({"kind": "run_late", "at": [10]})
        results = await bench.encode_all(tickets)
        failed = [ticket for ticket, result in zip(tickets, results, strict=True) if isinstance(result, Exception)]
        assert failed
        for result in results:
            assert isinstance(result, EncodedWindow | DeviceUnreliableError)
        # The late run ends while these are encoded again.
        assert all(isinstance(result, EncodedWindow) for result in await bench.encode_all(failed))
        for ticket, states in zip(tickets, expected, strict=True):
            np.testing.assert_array_equal(bench.states(ticket), states)
        assert not any(bench.slab.is_written(slot) for slot in range(SLOTS))
        assert (await bench.encoder.health()).recoveries == 1

    asyncio.run(scenario())


def test_a_failed_device_answers_every_window_and_frees_every_slot(bench: Bench) -> None:
    async def scenario() -> None:
        tickets = [bench.ticket(slot) for slot in range(SLOTS)]
        bench.fails({"kind": "output_zeros"})
        for result in await bench.encode_all(tickets):
            assert isinstance(result, AmanuensisError)
        assert all(isinstance(result, DeviceBrokenError) for result in await bench.encode_all(tickets))
        assert (await bench.encoder.health()).status == "failed"
        assert not any(bench.slab.is_written(slot) for slot in range(SLOTS))

    asyncio.run(scenario())


def test_a_device_that_is_lost_at_rest_is_found_by_a_probe(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench.fails({"kind": "device_lost", "at": [1]})
        assert (await bench.encoder.health()).status == "healthy", "it has just worked"
        monkeypatch.setattr(deployments.encoder.deployment, "IDLE_S", 0.0)
        until = time.monotonic() + 10
        while (await bench.encoder.health()).status != "failed":
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        health = await bench.encoder.health()
        assert "No such device" in str(health.reason)

    asyncio.run(scenario())
