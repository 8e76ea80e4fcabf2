"""Setting the time of day fails no request in flight, and gives none more time."""

import asyncio
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from deployments.ingress.http.routes import create_app
from deployments.shared.contracts import ArrayRef, EncodedWindow, Ticket
from deployments.shared.errors import DeadlineExceededError
from tests.support.http_service import FILE, service
from tests.support.scripted_stages import ScriptedStages

HOUR_S = 3600.0


class CheckingStages(ScriptedStages):
    """A clock is set while the first window is encoded; each call checks its ticket, as real stages do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step_s: float, pause_s: float = 0.0) -> None:
        super().__init__(windows=3)
        self._monkeypatch = monkeypatch
        self._step_s = step_s
        self._pause_s = pause_s

    async def encode(self, ticket: Ticket, log_mel: ArrayRef) -> EncodedWindow:
        if self._step_s:
            epoch, step_s, self._step_s = time.time, self._step_s, 0.0
            self._monkeypatch.setattr(time, "time", lambda: epoch() + step_s)
        await asyncio.sleep(self._pause_s)
        if ticket.is_late:
            raise DeadlineExceededError.before("this stage began")
        return await super().encode(ticket, log_mel)


def ask(stages: CheckingStages, directory: Path, timeout_s: float) -> int:
    with TestClient(create_app(service(stages, directory))) as client:
        headers = {"x-timeout-seconds": str(timeout_s)}
        return client.post("/v1/audio/transcriptions", files=FILE, headers=headers).status_code


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_a_request_in_flight_is_answered(step_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(CheckingStages(monkeypatch, step_s), tmp_path, 30.0) == 200


def test_a_clock_that_is_set_back_gives_no_more_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(CheckingStages(monkeypatch, -HOUR_S, pause_s=0.2), tmp_path, 0.1) == 504


def test_stages_on_other_nodes_compare_the_time_of_day() -> None:
    """It is the only clock that machines have in common."""
    assert not Ticket("r", 0, 1, time.time() + 60, None).is_late
    assert Ticket("r", 0, 1, time.time() - 1, None).is_late
    assert Ticket("r", 0, 1, time.monotonic() - 1, "/dev/shm/slab").is_late  # noqa: S108
