"""A slot that was given back is granted again once it is known that nobody writes into it."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from deployments.ingress.scheduling import slots
from deployments.ingress.scheduling.slots import Slots
from deployments.shared.memory.slab import Slab, SlabLayout

LAYOUT = SlabLayout(slots=2, n_mels=4, n_frames=8, n_states=4, d_model=8)


@pytest.mark.parametrize("reason", [errno.EMFILE, errno.ENFILE, errno.ENOLCK], ids=errno.errorcode.get)
def test_descriptors_that_run_out_lose_no_slot(
    reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slots, "KEPT_BACK_POLL_S", 0.0)

    def no_descriptor(*_: object) -> int:
        raise OSError(reason, os.strerror(reason))

    async def scenario() -> None:
        slab, freed = Slab.create(tmp_path / "slab", LAYOUT), asyncio.Semaphore(0)
        both = Slots(LAYOUT.slots, slab, on_end=lambda: None, on_free=freed.release)
        leases = [both.grant(), both.grant()]
        with monkeypatch.context() as scarce:
            scarce.setattr("deployments.shared.memory.slab.os.open", no_descriptor)
            for lease in leases:
                lease.close()
            for _ in range(5):
                await asyncio.sleep(0.001)
            assert (both.in_use, both.leases, freed.locked()) == (2, 0, True)
        for _ in leases:
            await freed.acquire()
        assert both.in_use == 0

    asyncio.run(asyncio.wait_for(scenario(), 10))
    assert len(caplog.records) == 2, "one line for each slot, however long it lasts"
    assert os.strerror(reason) in caplog.text
