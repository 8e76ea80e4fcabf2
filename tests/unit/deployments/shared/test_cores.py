"""Defaults that follow from the cores, and how the cores are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.shared.cores import MOST_CORES, CoreDefaults, defaults_for, usable_cores


@pytest.mark.parametrize(
    ("cores", "defaults"),
    [
        (1, CoreDefaults(slots=16, encoder_threads=1, max_mel_replicas=0, max_decoder_replicas=0)),
        (2, CoreDefaults(slots=16, encoder_threads=1, max_mel_replicas=0, max_decoder_replicas=0)),
        (4, CoreDefaults(slots=16, encoder_threads=1, max_mel_replicas=0, max_decoder_replicas=0)),
        (7, CoreDefaults(slots=16, encoder_threads=1, max_mel_replicas=0, max_decoder_replicas=0)),
        (8, CoreDefaults(slots=32, encoder_threads=3, max_mel_replicas=2, max_decoder_replicas=3)),
        (16, CoreDefaults(slots=64, encoder_threads=7, max_mel_replicas=2, max_decoder_replicas=7)),
        (64, CoreDefaults(slots=240, encoder_threads=29, max_mel_replicas=4, max_decoder_replicas=29)),
    ],
)
def test_defaults(cores: int, defaults: CoreDefaults) -> None:
    assert defaults_for(cores) == defaults


def test_one_ingress_keeps_no_more_cores_busy() -> None:
    assert defaults_for(2 * MOST_CORES) == defaults_for(MOST_CORES)


@pytest.mark.parametrize("cores", range(8, MOST_CORES + 1))
def test_encoder_and_decoders_leave_room_and_every_decoder_can_have_a_batch(cores: int) -> None:
    defaults = defaults_for(cores)
    assert defaults.encoder_threads + defaults.max_decoder_replicas < cores
    assert 8 * defaults.max_decoder_replicas <= defaults.slots


class TestUsableCores:
    @pytest.fixture(autouse=True)
    def _sixteen_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))

    def test_without_a_container_those_that_the_process_may_run_on(self, tmp_path: Path) -> None:
        assert usable_cores(tmp_path) == 16

    @pytest.mark.parametrize(
        ("limit", "cores"),
        [
            ("max 100000", 16),
            ("400000 100000", 4),
            ("790000 100000", 7),
            ("50000 100000", 1),
            ("3200000 100000", 16),
        ],
    )
    def test_a_container_of_version_2(self, tmp_path: Path, limit: str, cores: int) -> None:
        (tmp_path / "cpu.max").write_text(f"{limit}\n", encoding="ascii")
        assert usable_cores(tmp_path) == cores

    @pytest.mark.parametrize(("quota", "cores"), [("-1", 16), ("200000", 4)])
    def test_a_container_of_version_1(self, tmp_path: Path, quota: str, cores: int) -> None:
        (tmp_path / "cpu").mkdir()
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n", encoding="ascii")
        (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("50000\n", encoding="ascii")
        assert usable_cores(tmp_path) == cores
