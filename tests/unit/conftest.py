"""What all unit tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve settings as on two cores, whatever this machine has: some defaults depend on it."""
    monkeypatch.setattr("deployments.shared.settings.usable_cores", lambda: 2)
