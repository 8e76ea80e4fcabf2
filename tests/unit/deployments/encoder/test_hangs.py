"""The Encoder without Serve, around a backend that can be told to hang, or to fail for some windows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import deployments.encoder.deployment
from deployments.encoder.deployment import _cpu_s, _device_s
from deployments.shared.contracts import Area, EncodedWindow, SlotArray, Ticket
from deployments.shared.errors import StageHungError
from deployments.shared.memory.slab import Slab, SlabLayout
from deployments.shared.model.description import load_model
from deployments.shared.settings import Settings
from deployments.shared.watchdog import ProgressWatch
from npu_encoder.backend import HEALTHY, AnyArrays, DeviceHealth, encode_one_by_one
from npu_encoder.errors import EncoderError
from npu_encoder.weights import EncoderDimensions, read_dimensions
from tests.support.spoken_clips import DEMO_MODEL

SLOTS = 4
MEL_SHAPE = (80, 200)
CAUSE = "no memory"


class Backend:
    """A backend that writes ones; while ``gate`` is shut it hangs as native code does, and never says why."""

    device = "cpu:test"
    health: DeviceHealth = HEALTHY

    def __init__(self, dimensions: EncoderDimensions) -> None:
        self.dimensions = dimensions
        self.gate = threading.Event()
        self.gate.set()
        self.order: list[float] = []

    def encode(self, log_mels: Sequence[NDArray[np.float32]], states: Sequence[NDArray[np.float32]]) -> str:
        assert self.gate.wait(10)
        for log_mel, output in zip(log_mels, states, strict=True):
            self.order.append(float(log_mel[0, 0]))
            if log_mel[0, 0] < 0:
                raise MemoryError(CAUSE)
            output[:] = 1.0
        return self.device

    def encode_each(
        self, waiting: Callable[[], AnyArrays | None], _at_most: int
    ) -> Iterator[tuple[AnyArrays, str | EncoderError]]:
        return encode_one_by_one(self, waiting)

    def probe_device(self) -> None: ...

    def warm_up(self, frames: Sequence[int]) -> None: ...

    def close(self) -> None: ...


class Bench:
    """An Encoder around ``Backend``, and a slab."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.backend = Backend(read_dimensions(DEMO_MODEL))
        monkeypatch.setattr(deployments.encoder.deployment, "replica_name", lambda: "replica")
        monkeypatch.setattr(deployments.encoder.deployment, "load_encoder", lambda *_: self.backend)
        settings = Settings.resolve({"whisper_model": str(DEMO_MODEL), "encoder_budget_s": 0.1})
        self.slab = Slab.create(directory / "slab", SlabLayout(SLOTS, 80, 3000, 1500, 192))
        deployment: Any = deployments.encoder.deployment.Encoder
        self.encoder = deployment.func_or_class(settings, load_model(settings))
        self.encoder._watch = ProgressWatch(0.1, slack=0)
        self.encoder._watch.learn(0.0)
        self.backend.order.clear()

    async def encode(self, slot: int, value: float = 1.0, priority: int = 1) -> EncodedWindow:
        ticket = Ticket("test", slot, self.slab.grant(slot), time.monotonic() + 60, str(self.slab.path), priority)
        self.slab.view(slot, ticket.generation, Area.LOG_MEL, MEL_SHAPE)[:] = value
        encoded: EncodedWindow = await self.encoder.encode(
            ticket, SlotArray(slot, ticket.generation, Area.LOG_MEL, MEL_SHAPE)
        )
        return encoded


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_stuck_native_call_fails_the_check_and_the_probe_until_it_comes_back(bench: Bench) -> None:
    async def scenario() -> None:
        await bench.encoder.check_health()
        bench.backend.gate.clear()
        call = asyncio.create_task(bench.encode(0))
        until = time.monotonic() + 10
        while (await bench.encoder.health()).status == "healthy":
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        assert "finished nothing" in (await bench.encoder.health()).reason
        await asyncio.sleep(0.2)
        with pytest.raises(StageHungError):
            await bench.encoder.check_health()
        bench.backend.gate.set()
        assert (await call).timing.device == Backend.device
        await bench.encoder.check_health()
        assert (await bench.encoder.health()).status == "healthy"

    asyncio.run(scenario())


def test_whatever_fails_one_window_leaves_its_neighbours_alone(bench: Bench) -> None:
    async def scenario() -> None:
        failed, *others = await asyncio.gather(
            *(bench.encode(slot, -1.0 if slot == 0 else 1.0) for slot in range(SLOTS)), return_exceptions=True
        )
        assert isinstance(failed, MemoryError)
        assert all(isinstance(other, EncodedWindow) for other in others)
        assert not any(bench.slab.is_written(slot) for slot in range(SLOTS))

    asyncio.run(scenario())


def test_a_window_whose_input_cannot_be_opened_leaves_its_neighbours_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bench.encoder._handoff.input

    def fails_once(ticket: Ticket, array: SlotArray) -> NDArray[np.float32]:
        if ticket.slot == 1:
            raise OSError(CAUSE)
        states: NDArray[np.float32] = real(ticket, array)
        return states

    monkeypatch.setattr(bench.encoder._handoff, "input", fails_once)

    async def scenario() -> None:
        results = await asyncio.gather(*(bench.encode(slot) for slot in range(SLOTS)), return_exceptions=True)
        assert [type(result) for result in results] == [EncodedWindow, OSError, EncodedWindow, EncodedWindow]

    asyncio.run(scenario())


def test_urgent_windows_are_encoded_first(bench: Bench) -> None:
    async def scenario() -> None:
        bench.backend.gate.clear()
        calls = [asyncio.create_task(bench.encode(0, 0.0))]
        await asyncio.sleep(0.05)
        calls += [asyncio.create_task(bench.encode(slot, float(slot), priority=3 - slot)) for slot in (1, 2, 3)]
        await asyncio.sleep(0)
        bench.backend.gate.set()
        await asyncio.gather(*calls)
        assert bench.backend.order == [0.0, 3.0, 2.0, 1.0]

    asyncio.run(scenario())


def test_the_pace_is_measured_when_the_encoder_is_warm(bench: Bench) -> None:
    health = asyncio.run(bench.encoder.health())
    assert 0 < health.window_s < 1


@pytest.mark.parametrize(("encoding_s", "counts_waiting"), [(_cpu_s, False), (_device_s, True)])
def test_seconds_in_which_others_had_the_cores_are_no_part_of_a_cpu_s_pace(
    encoding_s: Callable[[Any, int], float], counts_waiting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployments.encoder.deployment, "encode_silence", lambda *_: time.sleep(0.5))
    assert (encoding_s(None, 3000) >= 0.5) is counts_waiting


def test_the_slab_of_a_service_that_is_gone_is_dropped_at_the_next_check(bench: Bench) -> None:
    async def scenario() -> None:
        await bench.encode(0)
        await bench.encoder.check_health()
        assert bench.encoder._handoff._slab is not None
        bench.slab.path.unlink()
        await bench.encoder.check_health()
        assert bench.encoder._handoff._slab is None

    asyncio.run(scenario())
