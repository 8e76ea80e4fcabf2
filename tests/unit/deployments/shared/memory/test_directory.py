"""The directory in shared memory: whatever a dead service left, a new one has room to start."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deployments.shared.contracts import Area, SlotArray, Ticket
from deployments.shared.errors import ConfigurationError, OutOfSpaceError, SlotViolationError
from deployments.shared.memory import directory as directory_module
from deployments.shared.memory.directory import SHARED_MEMORY, SLAB, create_directory
from deployments.shared.memory.handoff import Handoff
from deployments.shared.memory.slab import Slab, SlabLayout, free_bytes
from deployments.shared.memory.spool import write_pcm, write_upload
from deployments.shared.owned_directory import remove_stale

LAYOUT = SlabLayout(slots=2, n_mels=80, n_frames=3000, n_states=1500, d_model=192)
MEL_SHAPE, STATES_SHAPE = (80, 3000), (1500, 192)
TMPFS_BYTES = LAYOUT.total_bytes * 3 // 2


class Stage:
    """A stage in this process that has begun to work for a service, which has died since: its lock is closed."""

    def __init__(self, base: Path) -> None:
        directory = create_directory(base)
        slab = Slab.create(directory.path / SLAB, LAYOUT)
        for slot in range(LAYOUT.slots):
            slab.grant(slot)
        self.slab = slab.path
        self.handoff = Handoff()
        self.handoff.check_ticket(self.ticket(0))
        self._descriptor = os.open(self.slab, os.O_RDONLY)
        os.close(directory._lock)

    def ticket(self, slot: int) -> Ticket:
        return Ticket("r", slot, 1, time.time() + 60, str(self.slab))

    def close(self) -> None:
        os.close(self._descriptor)

    @property
    def memory(self) -> int:
        """Bytes that the slab of the dead service takes, whether it has a name or not."""
        return os.fstat(self._descriptor).st_blocks * 512


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory that has room for one slab and a half."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES},mode=700", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_new_service_starts_where_there_is_room_for_one_although_stages_map_the_old_slab(small_tmpfs: Path) -> None:
    stage = Stage(small_tmpfs)
    own = create_directory(small_tmpfs)
    slab = Slab.create(own.path / SLAB, LAYOUT)
    assert free_bytes(small_tmpfs) >= TMPFS_BYTES - LAYOUT.total_bytes - 2**20
    with pytest.raises(SlotViolationError):
        stage.handoff.check_ticket(stage.ticket(0))
    stage.handoff.check_ticket(Ticket("r", 0, slab.grant(0), time.time() + 60, str(slab.path)))
    stage.close()
    own.remove()


def test_an_upload_that_is_larger_than_what_is_left_is_refused_and_leaves_nothing(small_tmpfs: Path) -> None:
    own = create_directory(small_tmpfs)
    Slab.create(own.path / SLAB, LAYOUT)
    free = free_bytes(small_tmpfs)
    with pytest.raises(OutOfSpaceError):
        write_upload(own.path, bytes(free + 1))
    assert free_bytes(small_tmpfs) == free
    upload = write_upload(own.path, bytes(free // 2))
    with pytest.raises(OutOfSpaceError):
        write_pcm(upload, np.zeros(free, np.int16))
    own.remove()


def test_a_service_that_stops_makes_room_for_the_next_one(small_tmpfs: Path) -> None:
    for _ in range(2):
        own = create_directory(small_tmpfs)
        slab = Slab.create(own.path / SLAB, LAYOUT)
        mapped = Slab.attach(slab.path)
        own.remove()
    assert not mapped.path.exists()


def test_the_memory_of_a_slab_that_stages_map_is_given_back(stage: Stage, tmp_path: Path) -> None:
    assert stage.memory >= LAYOUT.total_bytes
    remove_stale(tmp_path, SHARED_MEMORY)
    assert stage.memory < LAYOUT.slot_bytes
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("use", ["writing", "reading"])
def test_a_slot_keeps_its_memory_while_a_call_uses_it(
    stage: Stage, tmp_path: Path, use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "PATIENCE_S", 0.0)
    ticket = stage.ticket(1)
    states = stage.handoff.input(ticket, SlotArray(1, 1, Area.ENCODER_STATES, STATES_SHAPE))
    states[:] = 7
    with stage.handoff.output(ticket, Area.LOG_MEL, MEL_SHAPE) if use == "writing" else stage.handoff.reading(ticket):
        remove_stale(tmp_path, SHARED_MEMORY)
        assert LAYOUT.slot_bytes <= stage.memory < 2 * LAYOUT.slot_bytes
        assert (states == 7).all()


def test_a_service_waits_for_the_calls_that_end_soon(stage: Stage, tmp_path: Path) -> None:
    with stage.handoff.output(stage.ticket(1), Area.LOG_MEL, MEL_SHAPE):
        starts = threading.Thread(target=remove_stale, args=(tmp_path, SHARED_MEMORY))
        starts.start()
        while stage.slab.exists():
            time.sleep(0.01)
    starts.join()
    assert stage.memory < LAYOUT.slot_bytes


def test_nobody_begins_to_use_a_slab_that_was_retired(stage: Stage, tmp_path: Path) -> None:
    late = stage.handoff._slab
    assert late is not None
    remove_stale(tmp_path, SHARED_MEMORY)
    for use in (late.writing(0, 1, Area.LOG_MEL, MEL_SHAPE), late.reading(0, 1)):
        with pytest.raises(SlotViolationError), use:
            pass
    with pytest.raises(SlotViolationError):
        late.check_generation(0, 1)


def test_a_stage_drops_a_slab_that_is_gone_once_no_call_uses_it(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_module, "PATIENCE_S", 0.0)
    stage.handoff.drop_slab_if_gone()
    assert is_mapped(stage.slab), "the file is still there"
    with stage.handoff.output(stage.ticket(1), Area.LOG_MEL, MEL_SHAPE) as array:
        remove_stale(tmp_path, SHARED_MEMORY)
        stage.handoff.drop_slab_if_gone()
        array[:] = 1
        assert is_mapped(stage.slab)
    del array
    assert not is_mapped(stage.slab)


def is_mapped(slab: Path) -> bool:
    """Whether this process maps a file, deleted or not."""
    return str(slab) in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_uploads_of_a_killed_service_go_too(stage: Stage, tmp_path: Path) -> None:
    upload = write_upload(stage.slab.parent, b"RIFF")
    write_pcm(upload, np.zeros(10, np.int16))
    remove_stale(tmp_path, SHARED_MEMORY)
    assert list(tmp_path.iterdir()) == []


def test_recordings_that_somebody_keeps_beside_are_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "amanuensis-recordings"
    kept.mkdir(mode=0o700)
    for name in ("lock", "interview.wav"):
        (kept / name).touch()
    create_directory(tmp_path).remove()
    assert (kept / "interview.wav").exists()


@pytest.mark.parametrize("content", [b"", b"short", bytes(100)], ids=len)
def test_a_slab_that_was_never_completed_goes_too(tmp_path: Path, stage: Stage, content: bytes) -> None:
    stage.slab.unlink()
    stage.slab.write_bytes(content)
    remove_stale(tmp_path, SHARED_MEMORY)
    assert list(tmp_path.iterdir()) == []


def test_an_unusable_base_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="AMANUENSIS_SHARED_MEMORY_DIR"):
        create_directory(tmp_path / "missing")
