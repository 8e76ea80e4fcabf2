"""How many slots there are where shared memory is small."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from deployments.shared.memory import fitting
from deployments.shared.memory.directory import SLAB, create_directory
from deployments.shared.memory.fitting import with_slots_that_fit
from deployments.shared.memory.slab import SlabLayout
from deployments.shared.settings import Settings
from npu_encoder.weights import EncoderDimensions

MIB = 2**20
DOCKER = 64 * MIB
BASE = EncoderDimensions(n_mels=80, n_audio_ctx=1500, d_model=512, n_heads=8, n_layers=6)
LARGE = EncoderDimensions(n_mels=128, n_audio_ctx=1500, d_model=1280, n_heads=20, n_layers=32)


def slots(
    free: int,
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
    dimensions: EncoderDimensions = BASE,
    **arguments: Any,
) -> int:
    """The slots of a service whose shared memory has so many bytes free."""
    monkeypatch.setattr(fitting, "free_bytes", lambda _: free)
    settings = Settings.resolve({"shared_memory_dir": str(directory), **arguments})
    return with_slots_that_fit(settings, dimensions).slots


def test_in_a_container_uploads_have_room_beside_the_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fit = slots(DOCKER, monkeypatch, tmp_path)
    assert fit == 12
    assert SlabLayout.of(fit, BASE).total_bytes <= DOCKER - 16 * MIB < SlabLayout.of(fit + 1, BASE).total_bytes
    assert "The slots are 12 instead of 16" in caplog.text
    assert f"{tmp_path} has 64 MiB free" in caplog.text


@pytest.mark.parametrize(("free", "expected"), [(1024 * MIB, 16), (84 * MIB, 16), (72 * MIB, 14), (0, 4)])
def test_no_more_are_given_up_than_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, free: int, expected: int
) -> None:
    assert slots(free, monkeypatch, tmp_path) == expected
    assert bool(caplog.records) == (expected < 16), "whoever has fewer is told"


def test_a_large_model_keeps_what_one_request_may_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert slots(DOCKER, monkeypatch, tmp_path, LARGE) == 5
    assert slots(DOCKER, monkeypatch, tmp_path, LARGE, max_windows_in_flight=9) == 9


@pytest.mark.parametrize("named", [{"slots": 16}, {"slots": 40}, {"enable_pipeline": False}])
def test_a_number_that_was_named_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: dict[str, Any]) -> None:
    assert slots(DOCKER, monkeypatch, tmp_path, **named) == named.get("slots", 1)


def test_a_number_in_the_environment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMANUENSIS_SLOTS", "20")
    assert slots(DOCKER, monkeypatch, tmp_path) == 20


def test_what_a_dead_service_left_takes_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = create_directory(tmp_path)
    (stale.path / SLAB).touch()
    os.close(stale._lock)
    slots(DOCKER, monkeypatch, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_left_to_the_one_that_needs_it(tmp_path: Path) -> None:
    settings = Settings.resolve({"shared_memory_dir": str(tmp_path / "missing")})
    assert with_slots_that_fit(settings, BASE) == settings
