"""Shared memory: the private directory, the slab, the handoff."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from deployments.ingress.shared_directory import SharedDirectory, remove_stale
from deployments.shared.contracts import Area, SlotArray, SpooledBlob, Ticket
from deployments.shared.errors import (
    ConfigurationError,
    DeadlineExceededError,
    OutOfSpaceError,
    RequestCancelledError,
    SlotViolationError,
    StageLostError,
)
from deployments.shared.memory.handoff import Handoff, drop, load_pcm, open_upload
from deployments.shared.memory.slab import Slab, SlabLayout
from deployments.shared.memory.spool import write_pcm, write_upload

LAYOUT = SlabLayout(slots=3, n_mels=80, n_frames=3000, n_states=1500, d_model=192)
RIFF = b"RIFF" * 1000
SAMPLES = np.arange(-16_000, 16_000, dtype=np.int16)


@pytest.fixture
def slab(tmp_path: Path) -> Slab:
    return Slab.create(tmp_path / "slab", LAYOUT)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    directory = tmp_path / "spool"
    directory.mkdir()
    return directory


@pytest.fixture
def upload(spool: Path) -> Path:
    return write_upload(spool, RIFF)


def ticket(slab: Slab, slot: int, generation: int, seconds: float = 60) -> Ticket:
    return Ticket("r", slot, generation, time.monotonic() + seconds, str(slab.path))


SERVICE = """
import sys, time
from pathlib import Path
from deployments.ingress.shared_directory import SharedDirectory
from deployments.shared.memory.slab import Slab, SlabLayout
directory = SharedDirectory.create(Path(sys.argv[1]))
Slab.create(directory.path / "slab", SlabLayout(2, 80, 3000, 1500, 192))
print(directory.path, flush=True)
time.sleep(60)
"""


@contextmanager
def other_service(base: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that holds a directory with a slab below ``base``, until it is killed."""
    command = [sys.executable, "-c", SERVICE, str(base)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


class TestDirectory:
    def test_is_private_and_leaves_nothing_behind(self, tmp_path: Path) -> None:
        directory = SharedDirectory.create(tmp_path)
        assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
        directory.remove()
        assert list(tmp_path.iterdir()) == []

    def test_a_live_service_keeps_its_directory(self, tmp_path: Path) -> None:
        directory = SharedDirectory.create(tmp_path)
        remove_stale(tmp_path)
        assert directory.path.is_dir()
        directory.remove()

    def test_what_a_killed_service_left_is_removed_and_what_lives_is_left_alone(self, tmp_path: Path) -> None:
        with other_service(tmp_path) as (killed, stale), other_service(tmp_path) as (_, living):
            assert {path.name for path in stale.iterdir()} == {"lock", "slab"}
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            own = SharedDirectory.create(tmp_path)
            assert set(tmp_path.iterdir()) == {living, own.path}
            assert {path.name for path in living.iterdir()} == {"lock", "slab"}
        own.remove()

    def test_an_unusable_base_is_a_clear_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="AMANUENSIS_SHARED_MEMORY_DIR"):
            SharedDirectory.create(tmp_path / "missing")


class TestSlab:
    def test_stages_see_what_others_wrote_without_a_copy(self, slab: Slab) -> None:
        generation = slab.grant(1)
        written = slab.view(1, generation, Area.LOG_MEL, (80, 400))
        written[:] = np.arange(80 * 400, dtype=np.float32).reshape(80, 400)
        other = Slab.attach(slab.path)
        assert other.layout == LAYOUT
        seen = other.view(1, generation, Area.LOG_MEL, (80, 400))
        np.testing.assert_array_equal(seen, written)
        assert seen.flags.writeable
        assert seen.flags.c_contiguous

    def test_areas_and_slots_do_not_overlap(self, slab: Slab) -> None:
        shapes = {Area.LOG_MEL: (80, 3000), Area.ENCODER_STATES: (1500, 192)}
        places = [(slot, area) for slot in range(LAYOUT.slots) for area in Area]
        generations = [slab.grant(slot) for slot in range(LAYOUT.slots)]
        for value, (slot, area) in enumerate(places):
            slab.view(slot, generations[slot], area, shapes[area])[:] = value
        for value, (slot, area) in enumerate(places):
            assert (slab.view(slot, generations[slot], area, shapes[area]) == value).all()

    def test_a_late_stage_meets_an_error_not_another_request(self, slab: Slab) -> None:
        generation = slab.grant(0)
        slab.take_back(0)
        with pytest.raises(SlotViolationError):
            slab.view(0, generation, Area.LOG_MEL, (80, 400))
        slab.grant(0)
        with pytest.raises(SlotViolationError):
            slab.check_generation(0, generation)

    def test_a_slot_has_one_writer_at_a_time_and_everybody_can_tell(self, slab: Slab) -> None:
        generation = slab.grant(0)
        neighbour = slab.grant(1)
        other = Slab.attach(slab.path)
        with slab.writing(0, generation, Area.LOG_MEL, (80, 400)):
            assert other.is_written(0)
            assert not other.is_written(1)
            with pytest.raises(StageLostError), other.writing(0, generation, Area.LOG_MEL, (80, 400)):
                pass
            with other.writing(1, neighbour, Area.LOG_MEL, (80, 400)):
                assert slab.is_written(1)
        assert not other.is_written(0)

    def test_a_late_writer_is_refused_and_leaves_no_lock(self, slab: Slab) -> None:
        generation = slab.grant(0)
        slab.take_back(0)
        with pytest.raises(SlotViolationError), slab.writing(0, generation, Area.LOG_MEL, (80, 400)):
            pass
        assert not slab.is_written(0)

    def test_a_slab_that_is_gone_is_written_by_nobody(self, slab: Slab) -> None:
        generation = slab.grant(0)
        slab.path.unlink()
        assert not slab.is_written(0)
        with pytest.raises(SlotViolationError), slab.writing(0, generation, Area.LOG_MEL, (80, 400)):
            pass

    def test_too_large_a_shape_is_refused(self, slab: Slab) -> None:
        with pytest.raises(ValueError, match="does not fit"):
            slab.view(0, slab.grant(0), Area.LOG_MEL, (80, 3001))

    def test_too_little_space_is_a_clear_error(self, tmp_path: Path) -> None:
        status = os.statvfs(tmp_path)
        slots = status.f_bavail * status.f_frsize // LAYOUT.slot_bytes + 2
        layout = SlabLayout(slots, 80, 3000, 1500, 192)
        with pytest.raises(ConfigurationError, match="AMANUENSIS_SLOTS"):
            Slab.create(tmp_path / "huge", layout)
        assert not (tmp_path / "huge").exists()

    def test_the_file_is_private_and_wholly_reserved(self, slab: Slab) -> None:
        status = slab.path.stat()
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_blocks * 512 >= LAYOUT.total_bytes


class TestHandoff:
    def test_output_of_one_stage_is_input_of_the_next(self, slab: Slab) -> None:
        now = ticket(slab, 2, slab.grant(2))
        mel, encoder = Handoff(), Handoff()
        with mel.output(now, Area.LOG_MEL, (80, 300)) as array:
            array[:] = 7
            reference = mel.publish(now, Area.LOG_MEL, array)
        assert reference == SlotArray(2, now.generation, Area.LOG_MEL, (80, 300))
        np.testing.assert_array_equal(encoder.input(now, reference), array)

    def test_nothing_begins_for_a_request_that_was_given_up(self, slab: Slab) -> None:
        now = ticket(slab, 0, slab.grant(0))
        handoff = Handoff()
        handoff.check_ticket(now)
        slab.cancel(0, now.generation)
        with pytest.raises(RequestCancelledError):
            handoff.check_ticket(now)
        later = ticket(slab, 0, slab.grant(0))
        handoff.check_ticket(later)
        with pytest.raises(DeadlineExceededError):
            handoff.check_ticket(ticket(slab, 0, later.generation, seconds=-1))

    def test_a_result_that_comes_too_late_is_not_published(self, slab: Slab) -> None:
        now = ticket(slab, 0, slab.grant(0))
        handoff = Handoff()
        with handoff.output(now, Area.ENCODER_STATES, (200, 192)) as array:
            slab.take_back(0)
            with pytest.raises(SlotViolationError):
                handoff.publish(now, Area.ENCODER_STATES, array)

    def test_audio_of_a_request_that_was_cancelled_is_not_kept(self, slab: Slab, upload: Path) -> None:
        now = ticket(slab, 0, slab.grant(0))
        slab.cancel(0, now.generation)
        with pytest.raises(RequestCancelledError):
            Handoff().store_pcm(now, SpooledBlob(str(upload)), SAMPLES)
        assert list(upload.parent.iterdir()) == [upload]

    def test_a_new_slab_replaces_the_old_one(self, tmp_path: Path) -> None:
        handoff = Handoff()
        for name in ("one", "two"):
            slab = Slab.create(tmp_path / name, LAYOUT)
            handoff.check_ticket(ticket(slab, 0, slab.grant(0)))

    def test_decoded_audio_is_read_back_in_parts(self, slab: Slab, upload: Path) -> None:
        now = ticket(slab, 0, slab.grant(0))
        blob = Handoff().store_pcm(now, SpooledBlob(str(upload)), SAMPLES)
        np.testing.assert_array_equal(load_pcm(blob, slice(10, 2000)), SAMPLES[10:2000])

    def test_an_upload_is_spooled_privately(self, upload: Path) -> None:
        assert stat.S_IMODE(upload.stat().st_mode) == 0o600
        assert stat.S_IMODE(upload.parent.stat().st_mode) == 0o700
        with open_upload(SpooledBlob(str(upload))) as file:
            assert file.read() == RIFF

    def test_what_calls_wrote_that_died_goes_with_the_upload(self, spool: Path, upload: Path) -> None:
        for _ in range(3):
            write_pcm(upload, SAMPLES)
        drop(SpooledBlob(str(upload)))
        assert list(spool.iterdir()) == []
        drop(SpooledBlob(str(upload)))

    def test_audio_of_a_request_that_is_over_is_not_kept(self, spool: Path, upload: Path) -> None:
        drop(SpooledBlob(str(upload)))
        with pytest.raises(RequestCancelledError):
            write_pcm(upload, SAMPLES)
        assert list(spool.iterdir()) == []

    def test_a_file_that_appears_during_the_removal_goes_too(
        self, spool: Path, upload: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        late, rmdir = [upload], Path.rmdir

        def written_meanwhile(path: Path) -> None:
            if late:
                write_pcm(late.pop(), SAMPLES)
            rmdir(path)

        monkeypatch.setattr(Path, "rmdir", written_meanwhile)
        drop(SpooledBlob(str(upload)))
        assert not late
        assert list(spool.iterdir()) == []

    def test_an_upload_without_room_is_refused_and_leaves_nothing(
        self, spool: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        monkeypatch.setattr("os.open", lambda *_: full)
        with pytest.raises(OutOfSpaceError) as refused:
            write_upload(spool, RIFF)
        assert refused.value.status == 503
        assert list(spool.iterdir()) == []
